"""Measure how well the building follows a signal and what it does when something breaks."""
