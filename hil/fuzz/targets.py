"""One function per decoder: it takes any bytes and raises only on a defect.

Each returns True if the bytes were accepted. Beyond "does not crash", each checks what must hold
of accepted bytes: they are the only encoding of what they mean, so encoding it again gives them
back. Refusing is DecodeError and nothing else.
"""

from binascii import crc32
from collections.abc import Callable

from element.protocol import cbor, cose, framing, schema
from element.protocol.errors import DecodeError
from hil.devices import BMS_FAMILIES
from host_tools import codec

from . import bms_targets, bundle_targets, element_targets, handshake_targets
from .defect import DefectError

FRAME_PAYLOAD_SIZE_MAX = 360
_PROBE = b"a good frame after whatever came before"
_PROBE_FRAME = framing.encode_frame(_PROBE)


def cbor_decode(data: bytes) -> bool:
    """Fuzz cbor.decode: what it takes, encode gives back."""
    try:
        value = cbor.decode(data)
    except DecodeError:
        return False
    if cbor.encode(value) != data:
        raise DefectError("cbor: accepted a second encoding")
    return True


def message(data: bytes) -> bool:
    """Fuzz the session and link messages: CBOR, kinds, fields and ranges."""
    try:
        kind, fields = schema.message_from_wire(cbor.decode(data))
    except DecodeError:
        return False
    if cbor.encode(schema.message_to_wire(kind, fields)) != data:
        raise DefectError("message: accepted a second encoding")
    return True


def host_loads(data: bytes) -> bool:
    """Fuzz the host's CBOR against the board's: the same value, or both refuse.

    The board alone accepts tags as values; no message holds one and the host refuses them here.
    """
    try:
        value = codec.loads(data)
    except DecodeError:
        return False
    if cbor.decode(data) != value or cbor.encode(value) != data:
        raise DefectError("host: read something else than the board")
    return True


def cose_sign1(data: bytes) -> bool:
    """Fuzz cose.sign1_parse: assembling the parts again gives the bytes back."""
    try:
        protected, header, payload, signature = cose.sign1_parse(data)
    except DecodeError:
        return False
    _check_header(protected, header)
    if cose.sign1_assemble(protected, payload, signature) != data:
        raise DefectError("sign1: accepted a second encoding")
    return True


def _check_header(protected: bytes, header: dict) -> None:
    again = cose.protected_header(
        header[cose.ALG], header.get(cose.KID), header.get(cose.TYP), header.get(cose.PIV)
    )
    if again != protected:
        raise DefectError("cose: accepted a second encoding of the header")


def frames(data: bytes) -> bool:
    """Fuzz FrameDecoder: bounded, everything counted, in step again after one zero.

    True if at least one payload came out. Two decoders get the same bytes whole and in pieces.
    """
    decoder = framing.FrameDecoder(FRAME_PAYLOAD_SIZE_MAX)
    payloads = decoder.feed(data)
    pieces = framing.FrameDecoder(FRAME_PAYLOAD_SIZE_MAX)
    cut = len(data) // 3
    in_pieces = pieces.feed(data[:cut]) + pieces.feed(data[cut : 2 * cut])
    if in_pieces + pieces.feed(data[2 * cut :]) != payloads:
        raise DefectError("frames: the cut of the stream changed what came out")
    if payloads != _expected_payloads(data):
        raise DefectError("frames: other payloads than the stream carries")
    # every stretch between zeros is one frame, but the last one is not finished
    stretch_count = sum(1 for stretch in data.split(b"\x00")[:-1] if stretch)
    counted = decoder.good + decoder.bad_crc + decoder.bad_cobs + decoder.oversize + decoder.runt
    unfinished_size = len(data) - data.rfind(b"\x00") - 1
    if not stretch_count <= counted <= stretch_count + (unfinished_size > FRAME_PAYLOAD_SIZE_MAX):
        raise DefectError("frames: a frame that no counter counted")
    if decoder.good != len(payloads):
        raise DefectError("frames: the counter of good frames is wrong")
    if decoder.feed(b"\x00" + _PROBE_FRAME)[-1:] != [_PROBE]:
        raise DefectError("frames: out of step after a zero")
    return bool(payloads)


def _expected_payloads(data: bytes) -> list[bytes]:
    """Return the payloads of a stream the slow way: one stretch between zeros at a time."""
    out = []
    for stretch in data.split(b"\x00")[:-1]:
        plain = framing.cobs_decode(stretch) or b""
        payload = plain[:-4]
        fits = 1 <= len(payload) <= FRAME_PAYLOAD_SIZE_MAX
        if fits and crc32(payload) == int.from_bytes(plain[-4:], "little"):
            out.append(payload)
    return out


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "cbor": cbor_decode,
    "message": message,
    "host_loads": host_loads,
    "cose_sign1": cose_sign1,
    "frames": frames,
    "host_port": element_targets.host_port,
    "trust_desk": element_targets.trust_desk,
    **handshake_targets.TARGETS,
    "bundle": bundle_targets.bundle_bytes,
    "receipt": bundle_targets.receipt_bytes,
    **{family: bms_targets.bms_stream(family) for family in BMS_FAMILIES},
}
