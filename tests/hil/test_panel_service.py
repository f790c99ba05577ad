"""The service as a process: start in any order, kill at any moment, stop safe, one API."""

import signal
from pathlib import Path

import httpx

from element.protocol import schema
from hil.bench.panel import AfterKills, killed_at_random
from host_tools.attest.archive import export, verify_folder
from host_tools.identity.site import Site
from host_tools.ledger.store import Ledger

from .panel_process import Elements, Panel, house, until

KW = 1_000_000


def test_instructions_over_the_api_roles_events_and_a_safe_stop(tmp_path: Path) -> None:
    with house(tmp_path) as (elements, panel):
        assert panel.request("GET", "/v1/capability", "read").status_code == 200
        assert httpx.get(str(panel._http.base_url) + "/v1/capability").status_code == 401
        ask = {"key": "one", "power_mw": 3 * KW, "duration_s": 60}
        assert panel.request("POST", "/v1/dispatches", "read", **ask).status_code == 403
        filed = panel.request("POST", "/v1/dispatches", **ask)
        assert filed.status_code == 201 and filed.json()["admitted_mw"] == 3 * KW
        again = panel.request("POST", "/v1/dispatches", **ask)
        assert again.json() == filed.json()
        other = panel.request("POST", "/v1/dispatches", **(ask | {"power_mw": KW}))
        assert other.status_code == 409
        until(lambda: abs(elements.power_mw - 3 * KW) < 10)
        text = panel.request("GET", "/metrics", "read").text
        assert "cellwall_elements_counted 4.0" in text
        assert "cellwall_admitted_watts 3000.0" in text
        with panel._http.stream("GET", "/v1/events", headers={
                "Authorization": f"Bearer {panel.tokens['read']}"}) as stream:
            panel_alarm = panel.request("POST", "/v1/alarms", "read", zone=200)
            assert panel_alarm.status_code == 201
            seen = ""
            for line in stream.iter_lines():
                seen += line + "\n"
                if "event: alarm" in seen and "event: live" in seen:
                    break
        release = panel.request("POST", "/v1/release", "admin")
        assert release.status_code == 403
        assert panel.request("POST", "/v1/release", "life-safety", zone=200).status_code == 200
        assert panel.stop() == 0
        until(lambda: elements.power_mw == 0, 3)


def test_a_panel_before_its_elements_and_elements_that_restart(tmp_path: Path) -> None:
    elements = Elements(tmp_path, 2)
    lines = [one["line"] for one in elements.lines]
    elements.stop()
    panel = Panel(tmp_path, lines).start()
    try:
        health = httpx.get(str(panel._http.base_url) + "/healthz").json()
        assert health["status"] == "degraded" and any("line" in one for one in
                                                      health["problems"])
        elements.start()
        until(lambda: panel.counted() == 2)
        elements.stop()
        until(lambda: panel.counted() == 0)
        elements.start()
        until(lambda: panel.counted() == 2)
    finally:
        code = panel.stop(signal.SIGINT)
        elements.stop()
    assert code == 4


def test_killed_at_random_while_dispatching_nothing_is_lost_or_done_twice(tmp_path: Path
                                                                          ) -> None:
    with house(tmp_path, 3) as (elements, panel):
        keys = killed_at_random(panel, 3, 1)
        panel.kill()
        # nobody renews: every lease ends, and the on/off ones' shortest times
        until(lambda: elements.power_mw == 0, 10)
        url = f"sqlite:///{tmp_path / 'aggregator.db'}"
        assert AfterKills.judge(elements, url, keys) == AfterKills(0, 0, 0)


def test_what_is_filed_verifies_offline_and_the_judge_finds_a_lost_record(tmp_path: Path
                                                                          ) -> None:
    url = f"sqlite:///{tmp_path / 'aggregator.db'}"

    def committed() -> bool:
        reader = Ledger(url)  # beside the process that writes
        records = [one for one in reader.chained(reader.last_interval())
                   if one[0] == schema.EXECUTION_RECORD]
        reader.close()
        return len(records) >= 2  # one of each element, in an interval that is committed to

    with house(tmp_path, 2) as (elements, panel):
        until(committed, 60)
        assert panel.stop() == 0
        ledger, site = Ledger(url), Site(tmp_path / "site")
        export(ledger, site.authorities().trust_root, tmp_path / "out", site.folder)
        ledger.close()
        outcome = verify_folder(tmp_path / "out")
        assert outcome.failures == [] and outcome.by_kind["record"] >= 2
        assert outcome.by_kind["interval"] >= 1
        # the judge of the kills itself: a ledger without what was acknowledged is found
        assert AfterKills.judge(elements, url, []) == AfterKills(0, 0, 0)
        ledger = Ledger(url)
        ledger.connection.exec_driver_sql("delete from statements where kind in (3, 4)")
        ledger.close()
        found = AfterKills.judge(elements, url, ["never-asked"])
        assert found.lost >= 2 and found.doubled == 1
