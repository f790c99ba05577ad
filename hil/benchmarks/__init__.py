"""Every benchmark of the project: what `make bench` runs. A new one is a function here."""
