"""Seeded campaigns: drawn plants, drawn faults, invariants at every step, shrinking, replay."""
