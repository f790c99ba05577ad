"""Emulate devices at the level of the bytes they really speak, without any I/O."""
