"""Structured logs on stderr: JSON lines for machines, columns for a person at a terminal."""

import sys
from typing import Any

import structlog


def logger(as_json: bool | None = None) -> Any:
    """Return a logger; as_json None: JSON unless stderr is a terminal."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    renderer: Any = structlog.processors.JSONRenderer() if as_json \
        else structlog.dev.ConsoleRenderer(colors=True)
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.add_log_level,
                    structlog.processors.TimeStamper(fmt="iso", utc=True), renderer])
