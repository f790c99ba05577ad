"""Simulated elements by the thousand: the protocol is real, the batteries are a few integers."""
