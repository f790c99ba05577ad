"""The bench's own key: it signs what a run leaves behind, and has nothing to do with any site.

Made on first use in the user's configuration folder; CELLWALL_BENCH_KEY names another file.
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from element.protocol.errors import BusError
from host_tools.identity.keys import KeyPair, public_from_raw, raw_public
from host_tools.identity.keystore import FileKeys, read_key

KEY_NAME = "bench"
VARIABLE = "CELLWALL_BENCH_KEY"
PEM_SIZE_MAX = 10_000


def key_folder() -> Path:
    """Return where the key is kept: XDG_CONFIG_HOME or ~/.config, then cellwall."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return Path(config or Path.home() / ".config") / "cellwall"


def existing_key() -> KeyPair | None:
    """Return the bench's key, None where there is none yet. Raises BusError for a bad one."""
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise BusError(f"{VARIABLE} names no file", f"{named}\n"
                           "  next: unset it, or make a P-256 key there (openssl genpkey "
                           "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE)")
        return read_key(Path(named))
    keys = FileKeys(key_folder())
    return keys.get(KEY_NAME) if keys.has(KEY_NAME) else None


def bench_key() -> KeyPair:
    """Return the bench's key; the first call of a user makes it. Raises BusError."""
    found = existing_key()
    if found is not None:
        return found
    keys = FileKeys(key_folder())
    try:
        return keys.create(KEY_NAME)
    except OSError as error:
        raise BusError("the bench's key cannot be kept", f"{keys.folder}: {error.strerror}\n"
                       f"  next: let {VARIABLE} name a key file") from error
    except BusError:
        return keys.get(KEY_NAME)  # another run has made it just now


def public_pem(public: bytes) -> str:
    """Return a raw public key as PEM, to hand to those who verify."""
    return public_from_raw(public).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_public(path: Path) -> bytes:
    """Return the raw public key of a PEM file. Raises BusError for anything else."""
    try:
        if path.stat().st_size > PEM_SIZE_MAX:
            raise ValueError("the file is too large")
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BusError("no public key", f"{path}: {error}\n"
                       "  next: `cellwall hil key` prints it on the bench that signed") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BusError("no P-256 key", str(path))
    return raw_public(key)
