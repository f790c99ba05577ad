"""Measure tracking error, step response and regulation score from recorded power."""
