"""The real firmware at the end of a TCP line: the host enrols it and it keeps reporting."""

import os
import pty
import random
import socket
import time
import tty
from pathlib import Path

from element.protocol import codes
from hil.bench.board_process import IN, BoardProcess, BoardSpec
from hil.bench.site import Paths, Seeds, profile_of
from hil.scenarios.model import ScenarioModel
from host_tools.aggregator import Aggregator
from host_tools.identity.issuer import Authorities
from host_tools.ledger.store import Ledger
from host_tools.links.tcp_link import TCPLink

WAIT_S_MAX = 20.0


def test_a_board_is_enrolled_over_tcp(small: ScenarioModel, tmp_path: Path,
                                      micropython: Path) -> None:
    paths, draw = Paths.of_checkout(micropython), Seeds(1).stream("board")
    board = BoardProcess(BoardSpec(
        "wall", micropython, paths.firmware, paths.board, tmp_path / "flash", "converter", "jbd",
        draw.randbytes(8), draw.randbytes(32), 1), "unix")
    bms_fd, bms_board_fd = pty.openpty()
    tty.setraw(bms_board_fd)
    os.set_blocking(bms_board_fd, False)
    rng = random.Random(1)
    aggregator = Aggregator(Authorities.make(rng.randbytes), Ledger(), rng.randbytes,
                            lambda name, _: (profile_of(small.elements[0]), 1, ""))
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = TCPLink("127.0.0.1", server.getsockname()[1])
        end, _ = server.accept()
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            board.start(0, (bms_board_fd, end.fileno()))
            port = aggregator.add_port("wall", link.send)
            view = None
            deadline = time.monotonic() + WAIT_S_MAX
            while time.monotonic() < deadline and (view is None or view.telemetry is None):
                board.channel.send(IN.pack(0, 0, -1, True, 0, 0, 0))
                now_ms = int(time.time() * 1000)
                aggregator.receive("wall", link.receive(), now_ms)
                if aggregator.due_ms <= now_ms:
                    aggregator.step(now_ms)
                view = aggregator.inventory.get(port.element_id) if port.element_id else None
                time.sleep(0.01)
            assert view is not None and view.telemetry is not None
            # enrolled and clock set, but no BMS answers: nothing may conduct
            assert view.telemetry["state"] == codes.STATE_INHIBITED
            assert view.telemetry["inhibits"] & codes.INHIBIT_STALE
            assert view.telemetry["pack_mv"] is None
        finally:
            board.stop()
            link.close()
            end.close()
            os.close(bms_fd)
            os.close(bms_board_fd)
