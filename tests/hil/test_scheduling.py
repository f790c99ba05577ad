"""Runs in wall time take the kernel's real-time class where it is permitted, and give it back."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hil.bench import scheduling
from hil.bench.scheduling import NORMAL, REAL_TIME, RealTimeClass, scheduling_of

CHILD = "import os; print(os.sched_getscheduler(0))"


def policy_of_a_child() -> int:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=True)
    return int(done.stdout)


def test_boards_are_in_the_class_of_their_bench_until_it_is_given_back() -> None:
    before = os.sched_getscheduler(0)
    one = RealTimeClass()
    taken = one.take()
    try:
        assert one.take() == taken
        policy = os.SCHED_RR if taken else before
        assert policy_of_a_child() == os.sched_getscheduler(0) == policy
        assert scheduling_of("real") == (REAL_TIME if taken else NORMAL)
    finally:
        one.give_back()
    one.give_back()
    assert policy_of_a_child() == os.sched_getscheduler(0) == before


def test_cores_stay_awake_meanwhile_and_no_kernel_has_to_have_that(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latency = tmp_path / "cpu_dma_latency"
    latency.touch()
    for path, asked in ((latency, b"\0\0\0\0"), (tmp_path / "none", b"")):
        monkeypatch.setattr(scheduling, "AWAKE", path)
        files = len(os.listdir("/proc/self/fd"))
        one = RealTimeClass()
        taken = one.take()
        held = len(os.listdir("/proc/self/fd")) - files
        one.give_back()
        assert held == (1 if taken and asked else 0)
        assert len(os.listdir("/proc/self/fd")) == files
        assert not path.exists() or path.read_bytes() == (asked if taken else b"")


def test_where_it_is_not_permitted_a_run_is_scheduled_as_any_process(
        monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getscheduler(0)

    def refused(pid: int, policy: int, parameter: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    one = RealTimeClass()
    assert not one.take()
    one.give_back()
    assert scheduling_of("real") == NORMAL and os.sched_getscheduler(0) == before


def test_virtual_time_needs_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(pid: int, policy: int, parameter: Any) -> None:
        raise AssertionError("asked for a class")

    monkeypatch.setattr(os, "sched_setscheduler", asked)
    assert scheduling_of("virtual") == NORMAL
