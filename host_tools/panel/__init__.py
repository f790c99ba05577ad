"""The process in the panel: site configuration, lines, database, dispatches, API, metrics."""
