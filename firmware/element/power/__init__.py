"""One driver per power stage: a target power in, pins and FET wishes out."""
