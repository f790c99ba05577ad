"""Where private keys live: files of one user, or a PKCS #11 token that never gives them out.

A key has a name (`issuer`, `life_safety.next` ..). Whoever signs gets a `KeyPair`, whose private
half is either the key itself or a handle on the token; the code that uses it sees no difference.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from element.protocol.errors import BusError
from host_tools.identity.keys import KeyPair, make_key_pair, raw_public

NAME_SIZE_MAX = 64


class KeyStore(Protocol):
    """Keys by name."""

    def has(self, name: str) -> bool:
        """Return True when there is a key of this name."""
        ...

    def create(self, name: str) -> KeyPair:
        """Make a key; an existing one is never replaced. Raises BusError when there is one."""
        ...

    def get(self, name: str) -> KeyPair:
        """Return a key. Raises BusError, with the next step, when there is none."""
        ...

    def rename(self, name: str, new: str) -> None:
        """Give a key another name; an existing one is never replaced."""
        ...


def check_name(name: str) -> str:
    """Return a key's name. Raises BusError for one that is no plain word."""
    if not 0 < len(name) <= NAME_SIZE_MAX or not name.replace("_", "").replace(".", "").isalnum():
        raise BusError("name of a key", name)
    return name


def read_key(path: Path) -> KeyPair:
    """Return the P-256 key of a PKCS #8 file that its user alone can read. Raises BusError."""
    if path.stat().st_mode & 0o077:
        raise BusError("others can read a private key", f"{path}\n  next: chmod 600 {path}")
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:  # TypeError: one with a passphrase
        raise BusError("no private key", str(path)) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) \
            or not isinstance(private.curve, ec.SECP256R1):
        raise BusError("no P-256 key", str(path))
    return KeyPair(private, raw_public(private.public_key()))


class FileKeys:
    """PKCS #8 files, one a key: folder 0700, files 0600."""

    def __init__(self, folder: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self.folder = folder
        self._random = random_bytes

    def path(self, name: str) -> Path:
        """Return the file of a key."""
        return self.folder / f"{check_name(name)}.pem"

    def has(self, name: str) -> bool:
        """Return True when there is a file of this name."""
        return self.path(name).exists()

    def create(self, name: str) -> KeyPair:
        """Make a key and its file. Raises BusError when it exists, OSError without a place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        pair = make_key_pair(self._random)
        pem = pair.private.private_bytes(  # type: ignore[attr-defined]  # a real key, just made
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self.path(name)
        # written beside its place and linked there: two who make it at once never read half a key
        fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=self.folder)  # 0600
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError as error:
            raise BusError("there is such a key already", str(path)) from error
        finally:
            os.unlink(temporary)
        return pair

    def get(self, name: str) -> KeyPair:
        """Read a key. Raises BusError for none, one that others can read, or another curve."""
        path = self.path(name)
        if not path.exists():
            raise BusError("no such key", f"{path}\n  next: cellwall pki init")
        return read_key(path)

    def rename(self, name: str, new: str) -> None:
        """Rename a key's file. Raises BusError when the new name is taken."""
        try:
            os.link(self.path(name), self.path(new))
        except FileExistsError as error:
            raise BusError("there is such a key already", str(self.path(new))) from error
        self.path(name).unlink()


class TokenPrivate:
    """A private key on a token, with the methods of `cryptography`'s that are used here."""

    def __init__(self, sign_digest: Callable[[bytes], bytes],
                 derive: Callable[[bytes], bytes]) -> None:
        """sign_digest: 32 bytes to r||s. derive: an uncompressed point to the x-coordinate."""
        self._sign_digest = sign_digest
        self._derive = derive

    def sign(self, data: bytes, signature_algorithm: object) -> bytes:
        """Return a DER signature over SHA-256 of data."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(data)
        raw = self._sign_digest(digest.finalize())
        half = len(raw) // 2
        return utils.encode_dss_signature(
            int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def exchange(self, algorithm: object, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Return the shared x-coordinate, 32 bytes."""
        return self._derive(b"\x04" + raw_public(peer_public_key))


class Pkcs11Keys:
    """Keys on a PKCS #11 token: SoftHSM2, a smart card, an HSM. They never leave it."""

    def __init__(self, module: Path, token: str, pin: str) -> None:
        """module: the token's library. Raises BusError when it does not open."""
        try:
            import pkcs11  # only who has a token needs it
        except ImportError as error:
            raise BusError("no PKCS #11 here", "python-pkcs11 is not installed\n"
                           "  next: pip install 'cellwall[token]'") from error

        self._pkcs11 = pkcs11
        try:
            self._session: Any = pkcs11.lib(str(module)).get_token(token_label=token).open(
                user_pin=pin, rw=True)
        except (pkcs11.exceptions.PKCS11Error, RuntimeError) as error:
            raise BusError("the token does not open",
                           f"{module}, {token}: {error or type(error).__name__}\n"
                           "  next: check module, label and PIN (CELLWALL_PIN)") from error

    def close(self) -> None:
        """End the session with the token."""
        self._session.close()

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except self._pkcs11.exceptions.PKCS11Error as error:
            raise BusError("the token refuses", f"{name}: {type(error).__name__}") from error

    def _find(self, name: str, private: bool) -> Any:
        kind = self._pkcs11.ObjectClass
        return next(iter(self._session.get_objects({
            self._pkcs11.Attribute.LABEL: check_name(name),
            self._pkcs11.Attribute.CLASS: kind.PRIVATE_KEY if private else kind.PUBLIC_KEY,
        })), None)

    def has(self, name: str) -> bool:
        """Return True when the token has a private key of this label."""
        return self._find(name, True) is not None

    def create(self, name: str) -> KeyPair:
        """Make a key on the token. Raises BusError when there is one."""
        from pkcs11.util.ec import encode_named_curve_parameters

        if self.has(name):
            raise BusError("there is such a key already", f"{name}, on the token")
        attribute = self._pkcs11.Attribute
        with self._explained(name):
            self._session.create_domain_parameters(
                self._pkcs11.KeyType.EC,
                {attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True,
            ).generate_keypair(
                store=True, label=name,
                private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False,
                                  attribute.SIGN: True, attribute.DERIVE: True})
        return self.get(name)

    def get(self, name: str) -> KeyPair:
        """Return a key by its label. Raises BusError when there is none."""
        private, public = self._find(name, True), self._find(name, False)
        if private is None or public is None:
            raise BusError("no such key", f"{name}, on the token\n  next: cellwall pki init")
        point = bytes(public[self._pkcs11.Attribute.EC_POINT])
        raw = point[-64:]
        if point[-65:-64] != b"\x04":
            raise BusError("no P-256 key", f"{name}, on the token")

        def sign_digest(digest: bytes) -> bytes:
            with self._explained(name):
                return bytes(private.sign(digest, mechanism=self._pkcs11.Mechanism.ECDSA))

        def derive(peer: bytes) -> bytes:
            attribute = self._pkcs11.Attribute
            with self._explained(name):
                secret = private.derive_key(
                    self._pkcs11.KeyType.GENERIC_SECRET, 256,
                    mechanism_param=(self._pkcs11.KDF.NULL, None, peer),
                    template={attribute.SENSITIVE: False, attribute.EXTRACTABLE: True})
                return bytes(secret[attribute.VALUE])

        return KeyPair(TokenPrivate(sign_digest, derive), raw)

    def rename(self, name: str, new: str) -> None:
        """Give a key another label. Raises BusError when that is taken."""
        if self.has(new):
            raise BusError("there is such a key already", f"{new}, on the token")
        with self._explained(name):
            for private in (True, False):
                self._find(name, private)[self._pkcs11.Attribute.LABEL] = check_name(new)
