"""The command `cellwall`."""
