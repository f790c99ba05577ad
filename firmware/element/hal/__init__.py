"""The hardware abstraction: the only room that imports hardware modules; one module a port."""
