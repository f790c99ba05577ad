"""Rules of STYLE.md and DESIGN.md that a machine can check."""
