"""The firmware of one element; `agent.main` runs it. Shared with the host: `protocol` alone."""
