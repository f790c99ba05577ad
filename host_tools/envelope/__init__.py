"""What the elements together may be asked for: population, policy, ceilings, capability. Pure."""
