"""A board process that dies is a board that is gone, whenever it dies."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hil.bench import board_process
from hil.bench.board_process import BoardProcess, BoardSpec


def test_a_board_dead_before_its_first_byte_is_gone_not_a_defect(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def popen_and_wait(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(*args, **kwargs)
        process.wait()
        return process

    monkeypatch.setattr(board_process, "start_process", popen_and_wait)
    board = BoardProcess(BoardSpec("wall", Path("/bin/false"), tmp_path, tmp_path,
                                   tmp_path / "flash", "converter", "jbd", bytes(8), bytes(32), 1),
                         "lockstep")
    try:
        board.start(0)
        assert board.running
        assert board.receive() is None
        assert not board.send(0, 0, -1, True, b"x", b"", b"")
    finally:
        board.stop()
    assert not board.running
