"""Write what a run leaves for people and for other programs: results.json, JUnit, HTML."""
