"""Check the serial console: replies, refusals, keys, lines; nothing in it adds power."""

from element_bench import Element
from fakes import WRAP, in_folder
from test_agent import latch_on_flash, statements
from typist import Typist

from element import version
from element.console import LINE_SIZE_MAX, Console
from element.ledger.log import FlashLog
from element.protocol import codes, rare, schema, texts

COMMANDS = ("help", "status", "cells", "limits", "trips", "log", "set-zone", "maintenance")
# Every word that a person can say, right and wrong.
EVERYTHING = COMMANDS + (
    "set-zone 3", "set-zone 0", "set-zone 65535", "set-zone 65536", "set-zone -1", "set-zone x",
    "set-zone 1 2", "maintenance repl", "maintenance off", "maintenance on", "status cells",
    "release", "reset", "limits power_mw_discharge_max 9000000", "trips clear", "log clear")


def typing(name, body, **options):
    """Run body(element, typist) in a fresh folder, the element ready for setpoints."""
    def run():
        one = Element(**options).ready()
        return body(one, Typist(one))
    return in_folder("console_" + name, run)


def fields_of(lines):
    """Return a reply of `status` by name."""
    assert lines[-1] == "ok", lines
    return {line[:10].strip(): line[10:] for line in lines[:-1]}


# ---- replies ----


def test_help_names_every_command_and_says_ok():
    def body(one, typist):
        lines = typist.say("help")
        assert lines[-1] == "ok"
        named = [line.split()[0] for line in lines[:-1]]
        assert set(named) == set(COMMANDS) - {"help"}, named
        assert max([len(line) for line in lines]) <= 80

    typing("help", body)


def test_status_of_an_element_that_is_ready():
    def body(one, typist):
        one.at_power(1_000_000, 3)
        status = fields_of(typist.say("status"))
        assert status["board"] == "memory, firmware " + version.TEXT
        assert status["hardware"] == "01020304" and len(status["element"]) == 16
        assert status["enrolled"] == "zone 2" and status["state"] == "active"
        assert status["held by"] == "nothing" and status["trip"] == "none"
        realized, told = status["power mW"].split(", told ")
        assert abs(int(realized) - 1_000_000) < 30_000 and told == "1000000"
        assert int(status["sensor mA"]) > 15_000 and status["enable"] == "on"
        assert status["interlock"] == "closed" and status["bms"].startswith("jbd, ")
        assert " 51200 mV, " in status["bms"] and status["bms"].endswith("errors none")
        assert abs(int(status["clock"]) - one.unix_ms) < 200
        assert status["link"] == "session, 0 dropped" and status["boot"] == "1, by power on"
        assert status["slot"] == "none"

    typing("status", body)


def test_status_of_an_element_that_nobody_has_enrolled():
    def body():
        one = Element()
        typist = Typist(one)
        one.bms.silent = True
        one.hal.input_ok = False
        one.run(2500)
        status = fields_of(typist.say("status"))
        assert status["enrolled"] == "no" and status["state"] == "unenrolled"
        assert status["held by"] == "not enrolled" and status["clock"] == "not set"
        assert status["bms"].startswith("jbd, nothing heard: no answer to 03"), status["bms"]
        assert status["interlock"] == "OPEN" and status["link"] == "no session, 0 dropped"
        assert typist.say("cells") == ["refused: the BMS has not said"]
        assert typist.say("limits") == ["refused: not enrolled: nothing is permitted"]
        assert typist.say("set-zone 3") == ["refused: not enrolled: the credential names the zone"]

    in_folder("console_blank", body)


def test_cells_and_thermometers_with_their_age():
    def body(one, typist):
        one.bms.cells = [3200] * 16
        one.bms.cells[4], one.bms.cells[9] = 3150, 3260
        one.bms.basic["ntcs"] = (2981, 3031)
        one.bms.basic["balance"] = (1 << 9, 0)
        one.run(3000)
        lines = typist.say("cells")
        assert len(lines) == 19 and lines[-1] == "ok"
        assert lines[0] == "cell 1    3200 mV" and lines[4] == "cell 5    3150 mV  lowest"
        assert lines[9] == "cell 10   3260 mV  highest  balancing"
        assert lines[17].startswith("thermometers 2, 25000 to 30000 mdegC, ")
        assert int(lines[16].split()[0]) <= 2500 and lines[16].endswith(" ms old")
        one.bms.silent = True
        one.run(60_000)
        # old values are shown as what they are
        lines = typist.say("cells")
        assert int(lines[16].split()[0]) > 55_000 and lines[17].endswith(" ms old")
        # and after a day they are not shown at all
        one.agent.driver.reading.cells_at_ms = (one.hal.now_ms - 90_000_000) % WRAP
        assert typist.say("cells") == ["refused: the BMS has not said"]

    typing("cells", body)


def test_limits_are_the_credentials():
    def body(one, typist):
        lines = typist.say("limits")
        said = dict([line.split(None, 1) for line in lines[:-1]])
        profile = one.agent.control.profile
        for name in schema_names():
            assert said[name] == str(getattr(profile, name)), name
        assert lines[-1] == "ok" and lines[:-1] == sorted(lines[:-1])

    typing("limits", body)


def schema_names():
    return [entry[1] if isinstance(entry[0], int) else entry[0] for entry in rare.PROFILE]


def test_trips_show_the_first_cause_and_the_last_events():
    def body(one, typist):
        assert typist.say("trips")[0] == "latched: nothing"
        one.bms.cells[4] = 3750
        one.run(3000)
        one.agent.interlock.trip(codes.TRIP_FIRE)
        one.run(500)
        lines = typist.say("trips")
        assert lines[0] == "latched: cell over-voltage, cell 5: 3750 mV, limit 3700 mV"
        assert lines[-2].endswith(lines[0][9:]) and lines[-2].split()[0].isdigit()
        # the journal keeps the last eight
        for number in range(12):
            one.agent.notice(codes.NOTICE_ZONE, number)
            one.run(300)
        lines = typist.say("trips")
        assert len(lines) == 10 and lines[-2].endswith("zone set to 11, it was 0")

    typing("trips", body)


def test_the_log_is_indented_and_the_last_sixteen_lines():
    def body(one, typist):
        one.hal.log = lambda line: None
        for number in range(20):
            one.agent.journal.log("line %d" % number)
        lines = typist.say("log")
        assert len(lines) == 17 and lines[-1] == "ok"
        assert [line.split("] ")[1] for line in lines[:-1]] \
            == ["line %d" % number for number in range(4, 20)]
        assert all(line.startswith("  [") for line in lines[:-1])

    typing("log", body)


def test_what_is_no_command_is_refused_and_nothing_is_no_line():
    def body(one, typist):
        for line in ("reset", "Status", "import os", ">>>", "status;", "sta tus"):
            lines = typist.say(line)
            assert lines == ["refused: no command '%s'; `help` lists them" % line.split()[0]]
        assert typist.say("") == [] and typist.say("   ") == []

    typing("unknown", body)


# ---- keys and lines ----


def test_keys_are_echoed_and_whole_lines_are_not():
    def body(one, typist):
        assert typist.say("trips") == ["latched: nothing"] + typist.events() + ["ok"]
        typist.text = b""
        for key in b"tri\x08ips\r":
            typist.put(bytes([key]))
        typist.put(b"\r")
        # the first key waits for the second: two bytes tell a text from a frame
        assert typist.text.startswith(b"tri\b \bips\r"), typist.text
        assert typist.take()[1:] == ["latched: nothing"] + typist.events() + ["ok"]

    typing("keys", body)


def test_a_line_in_two_pieces_is_echoed_from_its_first():
    def body(one, typist):
        typist.put(b"\x00tri")
        assert typist.text == b"tri"
        typist.put(b"ps\r\x00")
        assert typist.text.startswith(b"trips\r")
        assert typist.take()[-1] == "ok"

    typing("pieces", body)


def test_backspace_takes_back_what_was_typed_and_no_more():
    def body(one, typist):
        typist.put(b"xy\x7f\x7f\x7f\x08\x08")
        assert typist.text == b"xy" + b"\b \b" * 2
        typist.put(b"status\r")
        assert typist.take()[-1] == "ok"

    typing("backspace", body)


def test_an_interrupt_clears_the_line_and_says_how_to_reach_the_repl():
    def body(one, typist):
        typist.put(b"maintenance\x03\r")
        lines = typist.take()
        assert "the element is at work" in lines[0] and "maintenance repl" in lines[0]
        assert len(lines) == 1 and not one.agent.service.maintenance.on

    typing("interrupt", body)


def test_a_line_too_long_is_refused_whole():
    def body(one, typist):
        # cut off it would be a command that nobody meant
        for line in ("set-zone" + " " * (LINE_SIZE_MAX - 9) + "1234", "maintenance" + " " * 90,
                     "x" * (LINE_SIZE_MAX + 1)):
            lines = typist.say(line)
            assert lines[-1] == "refused: longer than 80 characters", lines
        assert one.agent.service.zones.local == 0 and not one.agent.service.maintenance.on
        # a text that does not end takes no more memory than a line, and the next is a new one
        for _ in range(50):
            typist.put(b"abcdefgh" * 7)
        typist.put(b"\r")
        assert len(one.agent.service._console._line) == 0
        typist.text = b""
        assert typist.say(" " * (LINE_SIZE_MAX - 6) + "status")[-1] == "ok"

    typing("long", body)


def test_frames_and_text_share_the_wire():
    def body(one, typist):
        for second in range(10):
            one.host.uart.put(b"\x00trips\r\x00")
            ack = one.setpoint(800_000)
            assert ack["accepted"], ack
            one.host.uart.put(b"cel")
            one.run(400)
            one.host.uart.put(b"ls\r")
            one.run(560)
        assert one.agent.port.dropped_count == 0 and one.hal.enabled
        assert len(one.all(schema.TELEMETRY)) >= 10
        lines = typist.take()
        assert len([line for line in lines if line == "ok"]) == 20
        assert not [line for line in lines if line.startswith("refused")]

    typing("shared", body)


# ---- maintenance ----


def test_maintenance_takes_a_running_setpoint_to_zero_at_once():
    def body(one, typist):
        one.at_power(1_000_000, 3)
        assert typist.say("maintenance", 150) == ["ok"]
        assert not one.hal.enabled and one.hal.duty == 0
        one.run(400)
        assert one.bms_opened() and one.agent.driver.fets_wanted == 0
        assert one.agent.control.state == codes.STATE_INHIBITED
        ack = one.setpoint(100_000)
        assert not ack["accepted"] and ack["reason"] == codes.REASON_MAINTENANCE
        assert one.setpoint(0)["accepted"]
        telemetry = one.last(schema.TELEMETRY)
        assert telemetry["inhibits"] & codes.INHIBIT_MAINTENANCE
        assert telemetry["power_mw_discharge_ready"] == telemetry["power_mw_charge_ready"] == 0
        assert fields_of(typist.say("status"))["held by"].find("maintenance") >= 0
        # the lease of before is gone: power has to be asked for anew
        assert typist.say("maintenance off") == ["ok"]
        one.run(500)
        assert not one.hal.enabled
        one.at_power(1_000_000)

    typing("hold", body)


def test_maintenance_outlasts_a_restart_and_a_message_does_not_end_it():
    def body(one, typist):
        assert typist.say("maintenance") == ["ok"]
        two = one.restart()
        two.open()
        two.run(2500)
        assert two.agent.service.maintenance.on
        ack = two.setpoint(100_000)
        assert not ack["accepted"] and ack["reason"] == codes.REASON_MAINTENANCE
        assert two.hal.enable_log == []
        assert Typist(two).say("maintenance off") == ["ok"]
        three = two.restart().open()
        three.run(2500)
        assert not three.agent.service.maintenance.on
        three.at_power(500_000)

    typing("outlast", body)


def test_maintenance_is_recorded_once_each_way():
    def body(one, typist):
        for line in ("maintenance", "maintenance", "maintenance off", "maintenance off"):
            assert typist.say(line, 300) == ["ok"]
        one.run(1500)
        assert maintenance_events(one) == [1, 0]

    typing("recorded", body)


def maintenance_events(one):
    """Return the values of the maintenance notices in the chain, in order, each once."""
    found = {event["counter"]: event for event in statements(one, schema.SAFETY_EVENT)
             if event["cause"] == codes.NOTICE_MAINTENANCE}
    for event in found.values():
        assert event["limit"] == 0 and not event["released"] and event["at_unix_ms"] > 0
    return [found[counter]["value"] for counter in sorted(found)]


def test_a_flash_that_does_not_take_it_holds_power_all_the_same():
    def body(one, typist):
        import os

        one.at_power(1_000_000)
        os.mkdir("maintenance.new")  # every write of the file fails
        assert typist.say("maintenance", 150)[0].startswith("refused: flash error ")
        assert one.agent.service.maintenance.on and not one.hal.enabled
        # refused again as long as it would not outlast a restart
        assert typist.say("maintenance")[0].startswith("refused: flash error ")
        os.rmdir("maintenance.new")
        assert typist.say("maintenance") == ["ok"]
        assert one.restart().agent.service.maintenance.on
        one.run(2000)
        assert maintenance_events(one) == [1]

    typing("flash", body)


def test_a_maintenance_file_that_cannot_be_read_is_maintenance():
    def body(one, typist):
        import os

        os.mkdir("maintenance")  # reading it fails, and so does removing it
        two = one.restart().open()
        typist = Typist(two)
        assert two.agent.service.maintenance.on
        assert typist.say("maintenance off")[0].startswith("refused: flash error ")
        assert two.agent.service.maintenance.on
        os.rmdir("maintenance")
        assert typist.say("maintenance off") == ["ok"] and not two.agent.service.maintenance.on

    typing("unreadable", body)


# ---- the REPL ----


def quiet_reset(one):
    """Let a restart be counted, not raised: what follows is another life."""
    count = []
    one.hal.reset = lambda: count.append(one.hal.now_ms)
    return count


def exists(path):
    try:
        with open(path):
            return True
    except OSError:
        return False


def test_the_repl_needs_maintenance_and_zero_power():
    def body(one, typist):
        one.at_power(1_000_000)
        assert typist.say("maintenance repl")[0].startswith("refused: say `maintenance` first")
        assert one.hal.enabled
        # both at once: the tick between them has not come
        one.host.uart.put(b"\x00maintenance\rmaintenance repl\r\x00")
        one.run(20)
        assert typist.take() == ["ok", "refused: power is not at zero yet"]
        assert not exists("repl") and not one.agent.service._restart_at

    typing("repl_needs", body)


def test_the_repl_is_recorded_before_it_can_be_reached():
    def body(one, typist):
        resets = quiet_reset(one)
        typist.say("maintenance", 1000)
        seen = []
        chained = one.agent.signer.chained

        def watch(counter, statement):
            seen.append(exists("repl"))
            chained(counter, statement)

        one.agent.signer.chained = watch
        began = one.hal.now_ms
        assert typist.say("maintenance repl", 300) == ["ok"]
        assert exists("repl") and seen == [False]
        assert resets == []
        assert fields_of(typist.say("status", 100))["held by"].find("maintenance") >= 0
        one.run(500)
        assert resets and 450 <= resets[0] - began <= 750
        assert maintenance_events(one) == [1, 2]
        # after the visit to the REPL the element is still in maintenance
        assert one.restart().agent.service.maintenance.on

    typing("repl_recorded", body)


def test_a_repl_that_cannot_be_recorded_is_refused():
    def body(one, typist):
        resets = quiet_reset(one)
        typist.say("maintenance", 1000)
        append = one.agent.signer._log.append

        def broken(entry):
            raise OSError(5)

        one.agent.signer._log.append = broken
        assert typist.say("maintenance repl", 1500) == [
            "refused: the record is not on flash"]
        one.agent.signer._log.append = append
        one.run(1500)
        import os

        os.mkdir("repl.new")
        assert typist.say("maintenance repl", 500)[0].startswith("refused: flash error ")
        os.rmdir("repl.new")
        submit = one.agent.worker.submit
        one.agent.worker.submit = lambda *_: False
        assert typist.say("maintenance repl") == [
            "refused: it cannot be recorded: the queue of signatures is full"]
        one.agent.worker.submit = submit
        one.run(2000)
        assert not exists("repl") and resets == [] and not one.loop.failures

    typing("repl_unrecorded", body)


def test_a_full_ledger_is_an_answer():
    def body(one, typist):
        typist.say("maintenance", 1000)
        room = FlashLog.room
        one.agent.signer._log = Full(one.agent.signer._log)
        assert typist.say("maintenance repl") == [
            "refused: it cannot be recorded: the ledger is full until a panel has fetched it"]
        assert FlashLog.room is room and not exists("repl")

    typing("repl_full", body)


class Full:
    """A log without room; everything else is the real one's."""

    room = 0

    def __init__(self, log):
        self._log = log

    def __getattr__(self, name):
        return getattr(self._log, name)


def test_maintenance_that_ends_meanwhile_reaches_no_repl():
    def body(one, typist):
        resets = quiet_reset(one)
        typist.say("maintenance", 1000)
        one.host.uart.put(b"\x00maintenance repl\rmaintenance off\r\x00")
        one.run(1500)
        assert typist.take() == ["ok", "refused: maintenance has ended meanwhile"]
        assert not exists("repl") and resets == [] and not one.loop.failures
        # and one that ends after the record takes the way to the REPL with it
        typist.say("maintenance", 1000)
        assert typist.say("maintenance repl", 200) == ["ok"] and exists("repl")
        assert typist.say("maintenance off", 100) == ["ok"] and not exists("repl")

    typing("repl_ended", body)


# ---- zones ----


def trip(one, zone):
    """Send a trip of a zone and return whether the element obeyed."""
    one.host.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": zone})
    one.run(200)
    obeyed = one.agent.interlock.tripped
    if obeyed:
        number = one.agent.interlock.order_number + 1
        assert one.agent.interlock.release(number, codes.TRIP_FIRE, False)
        one.run(200)
    return obeyed


def test_a_zone_is_obeyed_as_well_and_never_instead():
    def body(one, typist):
        assert [trip(one, zone) for zone in (0, 2, 3, 7)] == [True, True, False, False]
        assert typist.say("set-zone 7") == ["ok"]
        assert [trip(one, zone) for zone in (0, 2, 3, 7)] == [True, True, False, True]
        assert typist.say("set-zone 3") == ["ok"]
        assert [trip(one, zone) for zone in (0, 2, 3, 7)] == [True, True, True, False]
        two = one.restart().open()
        assert [trip(two, zone) for zone in (0, 2, 3, 7)] == [True, True, True, False]
        assert Typist(two).say("set-zone 0") == ["ok"]
        assert [trip(two, zone) for zone in (0, 2, 3, 7)] == [True, True, False, False]
        three = two.restart().open()
        assert [trip(three, zone) for zone in (0, 2, 3)] == [True, True, False]

    typing("zone", body)


def test_a_zone_is_recorded_with_the_one_before():
    def body(one, typist):
        for line in ("set-zone 7", "set-zone 65535", "set-zone 0"):
            assert typist.say(line, 400) == ["ok"]
        one.run(1000)
        found = {event["counter"]: (event["value"], event["limit"])
                 for event in statements(one, schema.SAFETY_EVENT)
                 if event["cause"] == codes.NOTICE_ZONE}
        assert [found[counter] for counter in sorted(found)] == [(7, 0), (65535, 7), (0, 65535)]

    typing("zone_recorded", body)


def test_a_zone_file_that_cannot_be_read_obeys_every_zone():
    for content in (b"", b"x", b"65536", b"-2", b"\xff\xff", b"3\x003", b"1e2"):
        def body(one, typist, content=content):
            with open("zone", "wb") as file:
                file.write(content)
            two = one.restart().open()
            assert [trip(two, zone) for zone in (0, 2, 3, 9999)] == [True] * 4, content
            # recorded as what it was: the zone before was every zone
            assert Typist(two).say("set-zone 3") == ["ok"]
            assert [trip(two, zone) for zone in (2, 3, 9999)] == [True, True, False], content

        typing("zone_damaged", body)


def test_wrong_zones_are_refused_and_change_nothing():
    def body(one, typist):
        typist.say("set-zone 7")
        for word in ("", "x", "-1", "65536", "1 2", "1.0", "0x3", "99999999999999999999"):
            assert typist.say("set-zone " + word) \
                == ["refused: set-zone N with N from 0 to 65535"], word
        import os

        os.mkdir("zone.new")
        assert typist.say("set-zone 9")[0].startswith("refused: flash error ")
        assert one.agent.service.zones.local == 7
        assert one.restart().agent.service.zones.local == 7

    typing("zone_wrong", body)


# ---- nothing in it adds power ----


def limits_of(one):
    """Return everything that could be widened."""
    profile = {name: str(value) for name, value in one.agent.control.profile.__dict__.items()}
    enrolment = one.agent.enrolment
    return (profile, enrolment.credential, enrolment.zone, enrolment.issuer_key,
            enrolment.life_safety_key, enrolment.element_id, one.agent.control.usage.snapshot())


def test_no_command_widens_a_limit_or_releases_a_trip():
    def body(one, typist):
        quiet_reset(one)
        one.agent.interlock.trip(codes.TRIP_FIRE, 1, 2, 3)
        one.run(500)
        before = limits_of(one), latch_on_flash()[:5]
        with open("grant.cbor", "rb") as file:
            grant = file.read()
        for line in EVERYTHING:
            typist.say(line, 100)
            assert one.agent.interlock.tripped and one.agent.interlock.cause == codes.TRIP_FIRE
            assert not one.hal.enabled and one.agent.control.state == codes.STATE_TRIPPED, line
        one.run(1500)
        assert (limits_of(one), latch_on_flash()[:5]) == before
        with open("grant.cbor", "rb") as file:
            assert file.read() == grant
        assert one.hal.enable_log == [] and not one.loop.failures
        two = one.restart()
        assert two.agent.interlock.cause == codes.TRIP_FIRE

    typing("tripped", body)


def test_no_command_makes_power_flow():
    def body(one, typist):
        quiet_reset(one)
        for line in EVERYTHING:
            typist.say(line, 300)
            assert not one.hal.enabled and one.hal.enable_log == [], line
        assert not one.loop.failures

    typing("idle", body)


def odd_states(one):
    """Yield after each change of the element into a state that a command may not expect."""
    agent = one.agent
    reading = agent.driver.reading
    yield "ready"
    one.bms.silent = True
    one.run(3000)
    yield "silent BMS"
    reading.valid = False
    yield "cells without pack"
    reading.cells_valid = False
    yield "nothing"
    reading.valid = reading.cells_valid = True
    reading.cell_count = reading.ntc_count = 0
    yield "no cells"
    reading.cell_count = 32
    reading.balancing = 0xFFFFFFFF
    reading.errors = 0x7FFFFFFF
    yield "all bits"
    agent.interlock.trip(255, -(1 << 31), 1 << 31, 31)
    yield "a cause that nobody knows"
    agent.interlock.cause = 0
    yield "a latch that is not intact"
    agent.control.stage.fault = 99
    agent.control.inhibits = 0xFFFF
    agent.control.state = 77
    yield "numbers of a later version"
    agent.hal.reset_cause = lambda: 99
    agent.journal.events.append((0, 255, 1, 2, None, True))
    yield "an unknown reset"
    agent.control.profile = None
    agent.enrolment.enrolled = False
    yield "no profile"


def test_no_command_fails_in_any_state():
    def body(one, typist):
        quiet_reset(one)
        for state in odd_states(one):
            for line in EVERYTHING:
                # straight to the console, so that the next tick does not mend the state
                replies = []
                Console(one.agent, replies.append).feed(line.encode() + b"\r")
                if line == "maintenance repl":
                    continue  # it answers when it has been recorded
                last = replies[-1]
                assert last == b"ok\r\n\x00" or last.startswith(b"refused: "), (state, line)
        assert not one.loop.failures

    typing("odd", body)


def test_what_comes_in_as_noise_fails_nothing_and_stops_no_tick():
    def body(one, typist):
        number = 12345
        fed = one.hal.fed_count
        for _ in range(300):
            noise = bytearray()
            for _ in range(20):
                number = (number * 1103515245 + 12345) & 0x3FFFFFFF
                noise.append(number >> 16 & 0x7F)
            one.host.uart.put(bytes(noise))
            one.run(10)
        one.host.uart.put(b"\r\x00")
        one.run(500)
        assert not one.loop.failures and one.hal.fed_count - fed >= 33
        one.inbox = []
        typist.take()
        assert typist.say("status")[-1] == "ok"
        one.at_power(500_000)

    typing("noise", body)


def test_the_names_that_it_shows_are_those_of_the_contract():
    for names, prefix in ((texts.STATE_NAMES, "STATE_"), (texts.RESET_NAMES, "RESET_"),
                          (texts.TRIP_NAMES, "TRIP_"), (texts.REASON_NAMES, "REASON_")):
        numbers = [getattr(codes, name) for name in dir(codes) if name.startswith(prefix)]
        # constants that a board folds away are not there to be compared
        assert not numbers or sorted(numbers) == list(range(len(names))), prefix
