"""One driver per BMS family: bytes in, `Reading` out. Only the family asked for is loaded."""

FAMILIES = ("jbd", "daly", "jk", "pylontech")
