"""Make the report of a run again, and its signature where the run still is what was signed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.report.signature import REMADE, peek_run, sign_run, verify_run
from hil.report.write import load_results, write_report
from host_tools.identity.keys import KeyPair


@dataclass(frozen=True)
class Remade:
    """The results, what kept the folder from being signed, and whose the signature is."""

    results: dict[str, Any]
    problems: list[tuple[str, str]]
    foreign_signer: bytes | None


def remake(folder: Path, key: KeyPair | None, now_unix_ms: int) -> Remade:
    """Write report.html and junit.xml again from results.json and trace.csv.

    The folder is signed again when its other files are what this key has signed. Where one was
    changed or the run was never signed, it is not, and the page says so. What another bench has
    signed is not signed by this one (key None: it has none): where the files come out the same,
    that signature holds on.
    Raises ResultsError.
    """
    results = load_results(folder)
    found = verify_run(folder, key.public if key else b"")
    problems = [one for one in found.problems if one[0] not in REMADE]
    if found.foreign:
        signer = peek_run(folder).key_id
        write_report(results, folder, signer)
        return Remade(results, [], signer)
    if problems or found.signature is None or key is None:
        write_report(results, folder, None)
        return Remade(results, problems, None)
    write_report(results, folder, key.key_id)
    if not verify_run(folder, key.public).holds:
        sign_run(folder, results, key, found.signature.began_unix_ms, now_unix_ms)
    return Remade(results, [], None)
