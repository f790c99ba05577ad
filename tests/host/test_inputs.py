"""Alarm inputs of the panel, and what systemd is told."""

import socket
from pathlib import Path

import pytest

from host_tools.panel.config import InputModel
from host_tools.panel.inputs import Input
from host_tools.panel.service import notify

UNIT = Path(__file__).resolve().parents[2] / "host_tools" / "panel" / \
    "cellwall-aggregator.service"


@pytest.mark.parametrize(("alarm_at", "text", "on"), [
    (0, "1\n", False), (0, "0\n", True), (1, "0\n", False), (1, "1\n", True),
    (0, "", True), (1, "x", True), (0, "11", True),
])
def test_only_the_quiet_level_is_quiet(tmp_path: Path, alarm_at: int, text: str, on: bool
                                       ) -> None:
    path = tmp_path / "value"
    path.write_text(text)
    contact = Input(InputModel(path=path, zone=1, alarm_at=alarm_at), path)
    assert contact.look() and contact.is_on is on
    assert not contact.look()


def test_an_input_that_cannot_be_read_is_an_alarm(tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text("1")
    contact = Input(InputModel(path=path, zone=1), path)
    assert contact.look() and not contact.is_on
    path.unlink()
    assert contact.look() and contact.is_on
    path.write_text("1")
    assert contact.look() and not contact.is_on


def test_systemd_is_told_where_it_has_started_us(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")  # nobody listens, and nothing happens
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert listener.recv(100) == b"READY=1"
    notify("WATCHDOG=1")  # it has gone: a panel goes on without


def test_the_unit_starts_what_there_is_and_watches_it() -> None:
    lines = dict(line.split("=", 1) for line in UNIT.read_text().splitlines()
                 if "=" in line and not line.startswith("#"))
    assert lines["Type"] == "notify" and int(lines["WatchdogSec"]) >= 5
    assert lines["Restart"] == "always" and lines["SuccessExitStatus"] == "4"
    assert " aggregator run " in lines["ExecStart"]
    assert " aggregator check " in lines["ExecStartPre"]
