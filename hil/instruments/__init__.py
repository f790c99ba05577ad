"""Host-side drivers of the instruments on a rig; each kind has a small contract file."""
