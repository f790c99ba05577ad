"""Putting firmware on boards: compile, flash, enrol, check, update."""
