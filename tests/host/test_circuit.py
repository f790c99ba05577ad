"""Retries, the circuit that opens, probes, and late links."""

from element.protocol import codes
from host_tools.dispatch.circuit import (
    CLOSED,
    NOTHING,
    OPEN,
    OPEN_MS_MAX,
    OPEN_MS_MIN,
    OPENED,
    PROBE,
    RETRY,
    TRIAL,
    Circuit,
    answer_ms,
)

REGULATION = codes.SERVICE_REGULATION


def opened(at_ms: int = 0) -> tuple[Circuit, int]:
    """Return a circuit that has just opened, and when."""
    circuit = Circuit()
    circuit.sent(1, REGULATION, at_ms)
    for sequence in (2, 3):
        at_ms = circuit.deadline_ms or 0
        assert circuit.due(at_ms) == RETRY
        circuit.sent(sequence, REGULATION, at_ms)
    at_ms = circuit.deadline_ms or 0
    assert circuit.due(at_ms) == OPENED
    return circuit, at_ms


def test_three_attempts_with_doubling_waits_then_it_opens() -> None:
    circuit, times = Circuit(), []
    circuit.sent(1, REGULATION, 0)
    while circuit.state == CLOSED:
        at_ms = circuit.deadline_ms or 0
        assert circuit.due(at_ms - 1) == NOTHING
        times.append((at_ms, circuit.due(at_ms)))
    limit = answer_ms(REGULATION)
    assert times == [(limit, RETRY), (3 * limit, RETRY), (7 * limit, OPENED)]
    assert circuit.why == "does not answer" and circuit.retry_count == 2


def test_an_answer_to_any_of_them_closes_the_matter() -> None:
    circuit = Circuit()
    circuit.sent(1, REGULATION, 0)
    circuit.sent(2, REGULATION, 100)
    circuit.answered(2, True, 130)
    assert circuit.deadline_ms is None and circuit.due(10**6) == NOTHING
    circuit.answered(1, True, 10**6)  # late, and of no use any more
    assert circuit.answer_ms_mean == 30
    circuit.answered(77, True, 140)  # never sent
    assert circuit.is_closed


def test_renewals_do_not_put_the_deadline_off() -> None:
    circuit = Circuit()
    for sequence in range(1, 40):
        circuit.sent(sequence, REGULATION, sequence * 10)
    assert circuit.deadline_ms == 10 + answer_ms(REGULATION)


def test_an_open_circuit_probes_and_waits_longer_each_time() -> None:
    circuit, now_ms = opened()
    waits = []
    for _ in range(9):
        due_ms = circuit.deadline_ms or 0
        waits.append(due_ms - now_ms)
        assert circuit.due(due_ms) == PROBE and circuit.state == TRIAL
        assert not circuit.is_closed
        circuit.sent(100, REGULATION, due_ms)
        now_ms = circuit.deadline_ms or 0
        assert circuit.due(now_ms) == OPENED and circuit.state == OPEN
    assert waits[:3] == [OPEN_MS_MIN, 2 * OPEN_MS_MIN, 4 * OPEN_MS_MIN]
    assert waits[-1] == OPEN_MS_MAX
    due_ms = circuit.deadline_ms or 0
    circuit.due(due_ms)
    circuit.sent(200, REGULATION, due_ms)
    circuit.answered(200, True, due_ms + 20)
    assert circuit.is_closed and circuit.why == ""


def test_refusing_again_and_again_opens_it_too() -> None:
    circuit = Circuit()
    for sequence in (1, 2, 3):
        assert circuit.is_closed
        circuit.sent(sequence, REGULATION, sequence)
        circuit.answered(sequence, False, sequence)
    assert circuit.state == OPEN and circuit.why == "refuses"
    circuit.reset()
    assert circuit.is_closed and circuit.deadline_ms is None


def test_a_slow_line_gets_its_own_time_and_is_called_late() -> None:
    circuit = Circuit()
    circuit.sent(1, REGULATION, 0)
    circuit.answered(1, True, 900)
    assert circuit.is_late
    circuit.sent(2, REGULATION, 1000)
    assert circuit.deadline_ms == 1000 + 4 * 900


def test_a_disturbed_bus_gives_time() -> None:
    circuit = Circuit()
    circuit.sent(1, REGULATION, 0)
    for now_ms in range(400, 20_000, 400):
        circuit.wait(now_ms)
        assert circuit.due(now_ms) == NOTHING
    assert circuit.is_closed
