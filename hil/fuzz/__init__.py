"""Fuzzing of every decoder that reads bytes from a peer: targets, a seeded mutator, a driver."""
