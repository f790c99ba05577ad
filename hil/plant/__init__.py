"""Model the physical side of the bench: cells, packs, power stages, meter and building load.

Physics floats (W, A, V, s) are used in here; every boundary to a board is an integer with its
unit in the name. Positive power and current are discharge: from the element to the PCC.
"""
