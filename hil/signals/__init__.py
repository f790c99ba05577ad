"""Make and load the reference signals that the building is asked to follow."""
