"""One driver per BMS family: bytes in, `Reading` out."""
