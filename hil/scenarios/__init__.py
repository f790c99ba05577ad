"""Scenarios as YAML, and what checks them when they are loaded."""
