"""Loads that can only be on or off follow a signal; batteries carry what they leave."""
