"""Boards, wiring, clocks and faults: the bench that runs real firmware against the plant."""
