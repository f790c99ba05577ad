"""The closed loop on the meter: it learns a constant error away and never winds up."""

from host_tools.dispatch.loop import MeterLoop


def _settle(loop: MeterLoop, target_mw: int, error_mw: int, cycles: int) -> int:
    """Run a plant that always delivers error_mw too little; return the last response."""
    response = None
    for _ in range(cycles):
        asked = loop.ask(target_mw, response, saturated=False)
        response = asked - error_mw
    assert response is not None
    return response


def test_a_constant_error_is_learnt_away() -> None:
    assert abs(_settle(MeterLoop(1_000_000), 3_000_000, 150_000, 30) - 3_000_000) <= 2


def test_the_trim_is_bounded() -> None:
    loop = MeterLoop(100_000)
    _settle(loop, 3_000_000, 900_000, 50)
    assert loop.trim_mw == 100_000


def test_a_saturated_cycle_teaches_nothing() -> None:
    loop = MeterLoop(1_000_000)
    loop.ask(5_000_000, None, saturated=False)
    for _ in range(20):
        assert loop.ask(5_000_000, 2_000_000, saturated=True) == 5_000_000


def test_a_new_service_does_not_learn_from_the_old_target() -> None:
    loop = MeterLoop(1_000_000)
    loop.ask(5_000_000, None, saturated=False)
    loop.reset()
    assert loop.ask(-1_000_000, 0, saturated=False) == -1_000_000
