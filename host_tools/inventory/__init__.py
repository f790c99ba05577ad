"""Who is in the building: identity, credential, capability, what was last heard."""
