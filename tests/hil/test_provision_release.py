"""A tripped element on an emulated Pico, and `cellwall release` with the site's key."""

from pathlib import Path

import cbor2
import pytest

from element.protocol import codes, schema
from host_tools import codec
from host_tools.identity.site import Site
from tests.hil.provision_bench import TappedPico, install, run, served


def orders(site: Path) -> list[dict[str, object]]:
    """Return the verified release orders that a site has kept."""
    path = site / "releases.cborseq"
    if not path.exists():
        return []
    key = Site(site).authorities().life_safety.public
    found = []
    with path.open("rb") as file:
        while file.peek():
            payload = codec.verify1(cbor2.dumps(cbor2.load(file), canonical=True), key,
                                    schema.STATEMENT_TYP[schema.RELEASE_ORDER])
            found.append(codec.decode_statement(schema.RELEASE_ORDER, payload))
    return found


def tripped(pico: TappedPico) -> None:
    """Open the interlock loop until the element has latched it."""
    pico.element.interlock_ok = False
    assert pico.happens(lambda: pico.up()["trip"] == "interlock input", 10)


@pytest.mark.whole
def test_a_trip_is_released_when_its_cause_has_gone(tmp_path: Path) -> None:
    path, site = tmp_path / "flash.bin", tmp_path / "site"
    install(path)
    with served(path) as pico:
        pico.up()
        code, _, err = run("enrol", pico.port, "--zone", "3", "--site", str(site))
        assert code == 0, err
        element, = Site(site).elements()
        code, out, err = run("release", pico.port, "--site", str(site))
        assert code == 0 and "nothing is latched" in out and orders(site) == [], err

        tripped(pico)
        code, out, err = run("release", pico.port, "--yes", "--site", str(site))
        assert code == 3 and "keeps its trip" in err and "next: " in err, err
        assert pico.up()["trip"] == "interlock input"

        pico.element.interlock_ok = True
        # by the element's id, and nobody there to confirm
        code, _, err = run("release", element.element_id[:6], "--site", str(site))
        assert code == 4 and "interlock input" in err and len(orders(site)) == 1
        code, out, err = run("release", element.element_id[:6], "--yes", "--site", str(site))
        assert code == 0 and "released: interlock input" in out, err
        assert pico.up()["trip"] == "none"
        kept = orders(site)
        assert [one["cause"] for one in kept] == [codes.TRIP_INPUT] * 2
        assert all(one["element_id"] == bytes.fromhex(element.element_id) for one in kept)

        another = tmp_path / "another"
        Site(another).create()
        tripped(pico)
        pico.element.interlock_ok = True
        code, _, err = run("release", pico.port, "--yes", "--site", str(another))
        assert code == 3 and "another host" in err and orders(another) == []
        assert pico.up()["trip"] == "interlock input"
