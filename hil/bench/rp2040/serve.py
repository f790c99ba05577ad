"""Serve an emulated Pico: `python -m hil.bench.rp2040.serve [--flash FILE] [--link PATH]`.

Prints the port, then runs until Ctrl-C. `mpremote connect PORT ...` and our own tools work on it
as on a board; what differs is in `served.py`. Exit 0 ended, 2 wrong usage, 3 the emulator failed.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from element.protocol.errors import BusError

from .served import BOARD, Battery, ServedPico

EXIT_RIG = 3
CHECK_S = 0.5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hil.bench.rp2040.serve", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flash", type=Path, help="keep the board's flash in this file")
    parser.add_argument("--link", type=Path, help="make a symbolic link to the port here")
    parser.add_argument("--board", type=Path, default=BOARD, help="the board.py with the pins")
    parser.add_argument("--soc-pct", type=float, default=50.0, help="the pack's charge, 0..100")
    parser.add_argument("--seed", type=int, default=1, help="of entropy and battery")
    parser.add_argument("--log", type=Path, help="what the emulator complains about")
    return parser


def _serve(arguments: argparse.Namespace, flash: Path) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    battery = Battery(soc=arguments.soc_pct / 100, seed=arguments.seed)
    with ServedPico(flash, board=arguments.board, battery=battery, seed=arguments.seed,
                    log=arguments.log) as served:
        if arguments.link is not None:
            with contextlib.suppress(FileNotFoundError):
                arguments.link.unlink()
            arguments.link.symlink_to(served.port)
        print(arguments.link or served.port, flush=True)
        try:
            while not stop.wait(CHECK_S):
                served.check()
        finally:
            if arguments.link is not None and arguments.link.is_symlink() \
                    and os.readlink(arguments.link) == served.port:
                arguments.link.unlink()


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal; return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.flash is not None:
            _serve(arguments, arguments.flash)
        else:
            with tempfile.TemporaryDirectory(prefix="cellwall-rp2040-") as folder:
                _serve(arguments, Path(folder) / "flash.bin")
    except BusError as error:
        print(f"serve: {error}", file=sys.stderr)
        return EXIT_RIG
    return 0


if __name__ == "__main__":
    sys.exit(main())
