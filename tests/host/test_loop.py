"""The closed loop on the meter: it learns a constant error away and never winds up."""

from host_tools.dispatch.loop import MeterLoop


def _settle(loop: MeterLoop, target_mw: int, error_mw: int, cycles: int) -> int:
    """Run a plant that always delivers error_mw too little; return the last response."""
    response = None
    for _ in range(cycles):
        asked = loop.ask(target_mw, response, disturbed=False)
        response = asked - error_mw
    assert response is not None
    return response


def test_a_constant_error_is_learnt_away() -> None:
    assert abs(_settle(MeterLoop(1_000_000), 3_000_000, 150_000, 30) - 3_000_000) <= 2


def test_the_trim_is_bounded() -> None:
    loop = MeterLoop(100_000)
    _settle(loop, 3_000_000, 900_000, 50)
    assert loop.trim_mw == 100_000


def test_a_disturbed_cycle_teaches_nothing() -> None:
    loop = MeterLoop(1_000_000)
    loop.ask(5_000_000, None, disturbed=False)
    for _ in range(20):
        assert loop.ask(5_000_000, 2_000_000, disturbed=True) == 5_000_000


def test_a_new_service_does_not_learn_from_the_old_target() -> None:
    loop = MeterLoop(1_000_000)
    loop.ask(5_000_000, None, disturbed=False)
    loop.reset()
    assert loop.ask(-1_000_000, 0, disturbed=False) == -1_000_000


def test_the_way_to_a_new_target_is_not_learnt() -> None:
    loop = MeterLoop(1_000_000)
    for _ in range(3):
        loop.ask(0, 0, disturbed=False)
    loop.ask(5_000_000, 0, disturbed=False)
    # the cycle after the step: the elements were still on their way
    assert loop.ask(5_000_000, 4_200_000, disturbed=False) == 5_000_000
    # the one after that: what is missing now is missing
    assert loop.ask(5_000_000, 4_900_000, disturbed=False) == 5_085_000


def test_a_slow_ramp_is_learnt_from() -> None:
    loop = MeterLoop(1_000_000)
    asked = 0
    for step in range(30):
        asked = loop.ask(step * 20_000, asked - 150_000 if step else None, disturbed=False)
    assert abs(loop.trim_mw - 150_000) < 25_000
