"""Merkle trees, interval commitments and the verification of a run's statements."""
