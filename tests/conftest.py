"""What all tests share: a MicroPython library for CPython, and a collector that stays quick."""

import gc

import pytest

from hil.cryptolib_shim import install

install()

_module: list[object] = [None]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before each file: take what is there out of the collector's way.

    The firmware collects often, as it must on a board. Here that would look each time through
    thousands of tests and every library, and be most of what many tests do.
    """
    module = getattr(item, "module", None)
    if module is not _module[0]:
        _module[0] = module
        gc.collect()
        gc.freeze()
