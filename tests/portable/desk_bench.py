"""An element that is told of its roots, and the statements that tell it."""

import hashlib
import os

from fakes import FakeHAL, drain
from greeter import Greeter
from panel import (
    ISSUER,
    NOW_S,
    OPERATOR,
    Host,
    claims_for,
    grant_for,
    next_of,
    pin_of,
    sign1,
)

from element.clock import Clock
from element.crypto import p256
from element.crypto.worker import Worker
from element.enrolment import Enrolment
from element.link.host_port import HostPort
from element.protocol import codes, cose, edhoc, schema, trust

KEPT = ("enrolled", "credential", "credential_key", "pins", "issued_unix_s",
        "revocation_number", "revoked", "floor_unix_s", "zone", "element_id")


class Bench:
    """An enrolled element's port with its worker, and whoever is at the other end."""

    def __init__(self, enrolled=True, entropy_from=0):
        self.hal = FakeHAL()
        self.hal.entropy_count = entropy_from
        self.clock = Clock(self.hal)
        self.worker = Worker(self.hal)
        self.lines = []
        self.enrolment = Enrolment(
            self.hal, self.worker, codes.KIND_CONVERTER, 0, 84000, self.lines.append)
        self.enrolment.load()
        if enrolled and not self.enrolment.enrolled:
            self.enrolment.grant(grant_for(self.enrolment), lambda accepted, code: None)
            drain(self.worker)
        self.enrolment.prove()
        drain(self.worker)
        self.port = HostPort(self.hal, self.hal.link_uart, self.enrolment, self.worker,
                             self.clock, self.lines.append)
        self.host = Host(self.hal.link_uart)

    def restart(self):
        """Return the same element after a restart."""
        return Bench(entropy_from=self.hal.entropy_count + 100)

    def send(self, statement):
        """Bring a statement; nothing of it has been worked on yet."""
        self.host.plain(schema.TRUST, {"statement": statement})
        self.port.receive()

    def settle(self):
        """Do all the work and return what is answered: digests and codes."""
        drain(self.worker)
        self.port.receive()
        return [(fields["digest"], fields["code"]) for kind, fields in self.host.received()
                if kind == schema.TRUST_RESULT]

    def tell(self, statement):
        """Bring a statement and return the code of its answer."""
        self.send(statement)
        (digest, code), = self.settle()
        assert digest == hashlib.sha256(statement).digest()[:8]
        return code

    def work(self, count):
        """Do the first jobs in the queue and no more."""
        for _ in range(count):
            job, done = self.worker._jobs.pop(0)
            while not job.step():
                pass
            done(job)

    def greet(self, seed=b"x", **options):
        """Greet as a party; return why there is no session, None when there is one."""
        greeter = Greeter(self.enrolment, seed=seed, **options)
        self.put_3(self.answered(greeter))
        drain(self.worker)
        self.port.receive()
        told = [edhoc.error_of(fields["message"]) for kind, fields in self.host.received()
                if kind == schema.EDHOC_ERROR]
        return told[0][1] if told else None

    def answered(self, greeter):
        """Greet, and return the message_3 that is next."""
        self.host.plain(schema.EDHOC_1, {"message": greeter.message_1})
        self.port.receive()
        drain(self.worker)
        (_, fields), = self.host.received()
        return greeter.answer(fields["message"])[0]

    def put_3(self, message_3):
        """Bring a message_3; it is not looked at yet."""
        self.host.plain(schema.EDHOC_3, {"message": message_3})
        self.port.receive()

    def kept(self):
        """Return what the element believes and what is on its flash."""
        files = {}
        for name in sorted(os.listdir()):
            with open(name, "rb") as file:
                files[name] = file.read()
        one = self.enrolment
        return ([getattr(one, name) for name in KEPT], one.profile.power_mw_discharge_max,
                list(self.port.peers), list(self.port.vouched), files)

    def refuses(self, code, statement):
        """Check that a statement is refused with a code and changes nothing at all."""
        before = self.kept()
        answer = self.tell(statement)
        assert answer == code, (answer, code)
        assert self.kept() == before and self.port._desk is None


def rotation(role, root, number=2, signer=None, kind=trust.ROOT_ROTATION, **changes):
    """Return the statement by which a root's promised key takes over."""
    keys = next_of(root, number)
    fields = {
        "role": role, "number": number, "key": schema.cose_key(keys.public),
        "next_hash": pin_of(keys, number)[68:], "not_before_unix_s": NOW_S,
        "revoked_unix_s": NOW_S}
    fields.update(changes)
    return sign1(signer or keys, kind, fields)


def revocations(number, entries=b"", signer=OPERATOR, **changes):
    """Return the operator's list."""
    fields = {"number": number, "issued_unix_s": NOW_S, "next_unix_s": NOW_S + 86_400,
              "part": 1, "part_count": 1, "entries": entries}
    fields.update(changes)
    return sign1(signer, trust.REVOCATION_LIST, fields)


def entry(key_id, from_s=NOW_S):
    """Return the entry of a revoked key."""
    return key_id + from_s.to_bytes(4, "big") + b"\x01"


def renewal(bench, signer=ISSUER, profile=None, **changes):
    """Return the element's credential, a second newer."""
    changes = dict({"issued_unix_s": NOW_S + 1}, **changes)
    return sign1(signer, schema.CREDENTIAL, claims_for(bench.enrolment, profile, **changes))


def jobs_of(bench):
    """Return the names of the jobs that wait."""
    return [type(job).__name__ for job, _ in bench.worker._jobs]


def raw_statement(keys, typ, payload):
    """Return a signed statement of whatever bytes."""
    protected = cose.protected_header(-7, kid=keys.key_id, typ=typ)
    digest = hashlib.sha256(cose.sig_structure(protected, payload)).digest()
    return cose.sign1_assemble(protected, payload, p256.sign(keys.private, digest))
