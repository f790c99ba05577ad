"""How an aggregator becomes an element of the one above it: a request and a grant, two files.

Both are carried by hand, as an element is enrolled over a cable, so no network is trusted. The
request is the element's own EnrolRequest, signed with the aggregator's key: it confirms that key
and one for agreement. Its challenge is the SHA-256 of the profile that is asked for, so that the
signature covers the profile too. The grant is an EnrolGrant: credential and pinned roots. No I/O.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cbor2

from element.protocol import codes, rare, schema
from element.protocol.errors import DecodeError, RangeError, SignatureError
from host_tools import codec
from host_tools.identity.issuer import Issuer
from host_tools.identity.keyring import Enrolled
from host_tools.identity.keys import KeyPair
from host_tools.inventory.elements import AGGREGATE_ROLE, depth_of
from host_tools.links.element_identity import ElementIdentity

FILE_SIZE_MAX = 4096
MIXED = "mixed"
# A setpoint passes through an aggregator in this time.
HOP_MS = 250
CURRENT_MA_MAX, CAPACITY_MAH_MAX, RESPONSE_MS_MAX = 1_000_000, 10_000_000, 600_000
_REQUEST = "cellwall parent request 1"


def profile_of(elements: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the profile of an aggregate of elements with these profiles.

    Powers and energies are sums of nameplates, the response is the slowest with the hop. A class
    of service is offered when every element that takes part in anything offers it, and when the
    aggregate itself is fast enough for it: what is told of an aggregate is one power, which then
    holds for each of its classes. Cells, currents and temperatures are the elements' own matter;
    their fields are as wide as the contract allows.
    Raises RangeError without any element.
    """
    parts = [one for one in elements if not one["monitor_only"] and one["services"]]
    if not parts:
        raise RangeError("no element to aggregate", 0)
    services = 0xFFFF
    for one in parts:
        services &= one["services"]
    response_ms = min(RESPONSE_MS_MAX, HOP_MS + max(one["response_ms"] for one in parts))
    for service, limit_ms in codes.SERVICE_RESPONSE_MS:
        if response_ms > limit_ms:
            services &= ~service
    if not services:
        raise RangeError("no class of service that all elements offer", 0)

    def total(name: str, most: int) -> int:
        return min(most, sum(one[name] for one in parts))

    chemistries = {one["chemistry"] for one in parts}
    return {
        "kind": codes.KIND_AGGREGATE,
        "power_mw_discharge_max": total("power_mw_discharge_max", schema.POWER),
        "power_mw_charge_max": total("power_mw_charge_max", schema.POWER),
        "current_ma_discharge_max": CURRENT_MA_MAX, "current_ma_charge_max": CURRENT_MA_MAX,
        "soc_bp_min": 0, "soc_bp_max": 10000, "cell_mv_min": 500, "cell_mv_max": 5000,
        "temperature_mdegc_discharge_min": -40000, "temperature_mdegc_discharge_max": 100_000,
        "temperature_mdegc_charge_min": -40000, "temperature_mdegc_charge_max": 100_000,
        "ramp_mw_per_s": total("ramp_mw_per_s", schema.POWER),
        "lease_ms_max": min(one["lease_ms_max"] for one in parts),
        "reading_age_ms_max": 2000, "energy_mwh_rated": total("energy_mwh_rated", schema.ENERGY),
        "step_mw": 0, "on_ms_min": 0, "off_ms_min": 0, "services": services,
        "chemistry": chemistries.pop() if len(chemistries) == 1 else MIXED,
        "role": f"{AGGREGATE_ROLE}{1 + max(map(depth_of, parts))}",
        "discharge_bp_at_soc": [], "charge_bp_at_soc": [],
        "capacity_mah": total("capacity_mah", CAPACITY_MAH_MAX), "reserve_soc_bp": 0,
        "response_ms": response_ms,
        "thermal_window_s": 0, "thermal_mwh_max": 0, "thermal_rise_mdegc_max": 0,
        "swing_window_s": 0, "swing_bp_max": 0, "day_cycles_milli_max": 0, "monitor_only": False}


@dataclass(frozen=True)
class Request:
    """What an aggregator asks of the one above. fields: of its EnrolRequest, as signed."""

    name: str
    profile: dict[str, Any]
    statement: bytes
    fields: dict[str, Any]

    @property
    def element_id(self) -> bytes:
        """The key id of the aggregator, which is its id as an element."""
        return bytes(self.fields["element_id"])


def _challenge(profile: dict[str, Any]) -> bytes:
    return hashlib.sha256(codec.dumps(schema.statement_to_wire(rare.PROFILE, profile))).digest()


def make_request(name: str, sign: KeyPair, agree: KeyPair, profile: dict[str, Any]) -> bytes:
    """Return the bytes of a request. sign: the aggregator's key."""
    identity = ElementIdentity(sign, agree)
    statement = identity.request(_challenge(profile), sign.key_id, "aggregate", "cellwall")
    return cbor2.dumps([_REQUEST, name, schema.statement_to_wire(rare.PROFILE, profile),
                        statement], canonical=True)


def read_request(data: bytes) -> Request:
    """Return a request that is signed by the key that it names, and whose profile is the one
    that was signed. Raises DecodeError or SignatureError."""
    parts = codec.loads(data) if len(data) <= FILE_SIZE_MAX else None
    if not (isinstance(parts, list) and len(parts) == 4 and parts[0] == _REQUEST
            and isinstance(parts[1], str) and isinstance(parts[3], bytes)):
        raise DecodeError("no request of an aggregator", None)
    profile = schema.statement_from_wire(rare.PROFILE, parts[2])
    fields = codec.decode_statement(schema.ENROL_REQUEST, codec.peek(parts[3])[2])
    codec.verify1(parts[3], schema.raw_key(fields["sign_key"]),
                  schema.STATEMENT_TYP[schema.ENROL_REQUEST])
    if fields["challenge"] != _challenge(profile):
        raise SignatureError("the profile is not the one that was signed")
    if profile["kind"] != codes.KIND_AGGREGATE or not depth_of(profile):
        raise DecodeError("profile of no aggregate", profile["kind"])
    return Request(parts[1], profile, parts[3], fields)


def admit(request: Request, issuer: Issuer, zone: int, tenant: str, now_unix_s: int,
          power_mw: int | None = None, energy_mwh: int | None = None) -> tuple[Enrolled, bytes]:
    """Return what the parent has to remember, and the bytes of the grant.

    power_mw, energy_mwh: less than was asked for. Raises RangeError for more.
    """
    profile = dict(request.profile)
    for names, value in ((("power_mw_discharge_max", "power_mw_charge_max"), power_mw),
                         (("energy_mwh_rated",), energy_mwh)):
        if value is not None:
            if not 0 < value <= max(profile[name] for name in names):
                raise RangeError(names[-1], value)
            profile |= {name: min(value, profile[name]) for name in names}
    enrolled, grant = issuer.enrol(request.statement, request.fields["challenge"], profile, zone,
                                   tenant, now_unix_s)
    return enrolled, codec.encode_message(schema.ENROL_GRANT, grant)


def read_grant(data: bytes) -> dict[str, Any]:
    """Return the fields of a grant. Raises DecodeError."""
    kind, fields = codec.decode_message(data) if len(data) <= FILE_SIZE_MAX else (0, {})
    if kind != schema.ENROL_GRANT:
        raise DecodeError("no grant of an aggregator", kind)
    return fields
