"""Grid support by the building's own measurement: curves, modes, who takes part, black start."""
