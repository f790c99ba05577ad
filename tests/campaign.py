"""How much of the long campaigns is run: all of it in `make nightly`, else a seeded sample."""

import os

WHOLE = bool(os.environ.get("CELLWALL_WHOLE"))
# One of so many bits is flipped; no multiple of two, so that every place in a byte has its turn.
BIT_STEP = 1 if WHOLE else 5
