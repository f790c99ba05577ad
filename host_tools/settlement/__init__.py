"""Settlement: what elements did, by whose they are, out of signed records alone."""
