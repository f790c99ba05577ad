"""What a user may choose for a run on a rig; nothing that needs an instrument's library."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.bench.session import Options


@dataclass(frozen=True)
class RigOptions:
    """rig: its file. record: folder of a recording, None for none.

    flash: bring the checkout's firmware onto every board first.
    """

    options: "Options"
    rig: Path
    record: Path | None = None
    flash: bool = False
