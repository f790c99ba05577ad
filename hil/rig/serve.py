"""Serve an emulated rig in a folder until it is told to end: commands are JSON lines on stdin.

{"unplug": NAME} {"replug": NAME} {"state": true} {"end": true}; NAME as in rig.yaml. Each is
answered by a line on stdout. The first line says that rig.yaml is written and the rig is up.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from ruamel.yaml import YAML

from hil.rig.emulated import EmulatedRig
from hil.scenarios.model import ScenarioModel

RIG_FILE = "rig.yaml"
HEAD = "# Written by `cellwall hil demo-rig`: a rig of emulated boards and instruments.\n"


def write_rig(rig: EmulatedRig) -> Path:
    """Write rig.yaml into the rig's folder and return its path."""
    path = rig.folder / RIG_FILE
    with path.open("w", encoding="utf-8") as file:
        file.write(HEAD)
        YAML(typ="safe", pure=True).dump(rig.rig_yaml(), file)
    return path


def serve(folder: Path, scenario: ScenarioModel, seed: int, stopped: threading.Event,
          commands: TextIO, usb_relay: bool = False,
          broker: tuple[str, int] | None = None) -> None:
    """Serve until stopped, or until told to end; the end of the commands alone ends nothing.

    usb_relay, broker: as in EmulatedRig.
    """
    rig = EmulatedRig(folder, scenario, seed, usb_relay=usb_relay, broker=broker)
    try:
        rig.start()
        path = write_rig(rig)
        print(json.dumps({"rig": str(path), "parts": list(rig.parts)}), flush=True)
        threading.Thread(target=_listen, args=(rig, commands, stopped), daemon=True).start()
        while not stopped.is_set():
            rig.turn()
    finally:
        rig.close()


def _listen(rig: EmulatedRig, commands: TextIO, stopped: threading.Event) -> None:
    for line in commands:
        try:
            answer = _command(rig, json.loads(line), stopped)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"no such command: {line.strip()!r} ({error!r})", file=sys.stderr)
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


def _command(rig: EmulatedRig, asked: dict[str, Any], stopped: threading.Event
             ) -> dict[str, Any]:
    if asked.get("state"):
        return rig.state()
    if asked.get("end"):
        stopped.set()
        return {"ended": True}
    plugged = "replug" in asked
    name = asked["replug" if plugged else "unplug"]
    rig.plug(name, plugged)
    return {"replugged" if plugged else "unplugged": name}
