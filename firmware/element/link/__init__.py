"""Transports and the secure session towards the panel."""
