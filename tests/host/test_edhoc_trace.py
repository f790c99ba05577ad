"""The vectors of the EDHOC tests are what RFC 9528's formulas make of RFC 9529's inputs."""

import json
from pathlib import Path

from tests.host.edhoc_trace import trace

VECTORS = Path(__file__).parents[1] / "vectors" / "edhoc_rfc9529.json"


def test_the_vectors_follow_from_the_inputs() -> None:
    assert json.loads(VECTORS.read_text()) == {name: value.hex()
                                               for name, value in trace().items()}


def test_the_messages_are_those_that_the_rfc_prints() -> None:
    computed = trace()
    assert computed["message_1"].hex().startswith("0382060258208af6f430ebe18d34184017a9a11bf511")
    assert computed["message_3"].hex() == "52e562097bc417dd5919485ac7891ffd90a9fc"
