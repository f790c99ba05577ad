"""Failure modes of one element: each single fault injected, watched and written down."""
