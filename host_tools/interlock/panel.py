"""Life safety in the panel: an alarm trips its zone; only a signed order releases an element."""

from collections.abc import Callable
from typing import Any

from element.protocol import schema
from host_tools import codec
from host_tools.identity.keys import KeyPair


def trip_message(cause: int, zone: int) -> dict[str, Any]:
    """Return the fields of a Trip for a zone; zone 0 is the whole building."""
    return {"cause": cause, "zone": zone}


class ReleaseDesk:
    """Make release orders with the life-safety key, each with a higher number than any before."""

    def __init__(self, key: KeyPair, first_number: int = 1) -> None:
        self._key = key
        self._next_number = first_number

    def order(self, element_id: bytes, cause: int, now_unix_ms: int,
              keep: Callable[[int, bytes], None]) -> bytes:
        """Return a signed release order for one element and one cause.

        keep(number, order) files it before it can go out.
        """
        # never below the clock's seconds: a desk that was restarted, and forgot what it had
        # issued, still goes on above it
        number = max(self._next_number, now_unix_ms // 1000)
        fields = {
            "element_id": element_id, "order_number": number,
            "issued_unix_ms": now_unix_ms, "cause": cause,
        }
        self._next_number = number + 1
        statement = codec.sign1(
            self._key.private, schema.STATEMENT_TYP[schema.RELEASE_ORDER], self._key.key_id,
            codec.encode_statement(schema.RELEASE_ORDER, fields),
        )
        keep(number, statement)
        return statement
