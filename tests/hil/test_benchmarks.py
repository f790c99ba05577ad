"""The processes that benchmarks start do what is measured, seen in a second of each."""

from pathlib import Path

from hil.benchmarks.element import Ticker, es256
from hil.benchmarks.registry import Context


def test_a_process_ticks_and_signs_beside_it(tmp_path: Path, micropython: Path) -> None:
    context = Context(micropython, tmp_path, None)
    tickers = [Ticker(context, 1, how) for how in ("signing", "idle")]
    (_, worst_ms, signed), (_, _, none) = (ticker.result() for ticker in tickers)
    assert signed > 10 and none == 0 and worst_ms < 1000


def test_signatures_are_timed(tmp_path: Path, micropython: Path) -> None:
    measured = {one.name: one.value for one in es256(Context(micropython, tmp_path, None))}
    assert 0 < measured["es256.sign_ms_median"] <= measured["es256.sign_ms_max"]
