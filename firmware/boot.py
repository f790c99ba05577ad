"""Runs first on a board. Pins keep their reset state: the power stage's lines are off."""
