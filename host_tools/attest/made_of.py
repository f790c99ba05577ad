"""An aggregate's record and the commitment that it is made of. Pure."""

from typing import Any

from element.protocol.errors import SignatureError


def check_made_of(record: dict[str, Any], below: dict[str, Any]) -> None:
    """Check that a record says what the commitment of the same aggregator says.

    Raises SignatureError when it is of another interval, signer or energy.
    """
    if below["aggregator_id"] != record["element_id"]:
        raise SignatureError("commitment of another aggregator", below["aggregator_id"])
    if (below["start_unix_ms"], below["end_unix_ms"]) != (
            record["start_unix_ms"], record["end_unix_ms"]):
        raise SignatureError("commitment of another interval", below["number"])
    if below["realized_mwh"] != record["energy_mwh"]:
        raise SignatureError("record and commitment differ in energy", below["number"])
