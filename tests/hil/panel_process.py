"""What the tests of the service share: see hil/bench/panel.py."""

from hil.bench.panel import Elements, Panel, house, until

__all__ = ["Elements", "Panel", "house", "until"]
