"""Faults that need no bench: what breaks inside the element, and the test that shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """One row; test is `file::function`, and a test checks that it exists."""

    what: str
    detected: str
    state: str
    test: str


_AGENT = "tests/portable/test_agent.py::"
_CONTROL = "tests/portable/test_control.py::"
_KEEPER = "tests/portable/test_keeper.py::"
_INTERLOCK = "tests/portable/test_interlock.py::"
_STAGES = "tests/hil/test_stages_on_bench.py::"
_OFF = "off, latched, board restarts"

SHOWN: tuple[Shown, ...] = (
    Shown("a task raises or ends", "supervisor", _OFF,
          _AGENT + "test_a_failing_task_makes_safe_latches_and_resets"),
    Shown("a task fails and flash or memory fail too", "supervisor", "off, board restarts",
          _AGENT + "test_the_reset_comes_even_when_the_flash_and_the_memory_fail"),
    Shown("control stops, BMS age unchecked, or latch unsound", "watchdog not fed", "reset",
          _AGENT + "test_the_watchdog_starves_when_one_of_its_three_conditions_fails"),
    Shown("reset by the watchdog", "reset cause", "latched, on record",
          _AGENT + "test_a_watchdog_reset_is_a_trip_and_every_boot_is_on_record"),
    Shown("a bit of the latch flips in memory", "second, inverted copy", "tripped",
          _INTERLOCK + "test_a_latch_whose_memory_changed_by_itself_is_tripped_and_stays_so"),
    Shown("the latch's code is broken", "self-test at boot", "tripped",
          _INTERLOCK + "test_the_self_test_finds_a_latch_that_does_not_trip"),
    Shown("the latch file is damaged", "decoding at boot", "tripped",
          _AGENT + "test_a_damaged_latch_file_is_a_trip"),
    Shown("the flash does not take the latch", "write error", "held at zero until it does",
          _KEEPER + "test_a_flash_that_does_not_take_the_latch_holds_until_it_does"),
    Shown("the flash does not take a record", "write error", "held at zero until it does",
          _AGENT + "test_a_record_that_the_flash_does_not_take_stops_power_and_not_control"),
    Shown("the file of the envelopes' use is damaged", "decoding at boot",
          "envelopes count as used up", _KEEPER + "test_usage_that_cannot_be_read_is_used_up"),
    Shown("power cut with envelopes used and not written", "assumed at boot",
          "full power since the last write is counted",
          _KEEPER + "test_the_envelopes_go_on_over_a_power_cut_at_any_moment"),
    Shown("clock never set", "no TimeSync", "held at zero", _AGENT + "test_reasons_of_refusal"),
    Shown("release order of a stranger, old, for another element or cause", "signature, number",
          "stays tripped", _AGENT + "test_release_orders_that_do_not_fit_are_refused"),
    Shown("release while the cause persists", "checked again", "stays tripped",
          _AGENT + "test_the_interlock_input_cannot_be_released_while_it_is_open"),
    Shown("BMS over-current with a harmless sensor", "BMS's own current", "off, latched",
          _CONTROL + "test_over_current_by_the_bms_while_the_sensor_is_stuck"),
    Shown("power in the wrong direction", "measured power", "off, latched",
          _CONTROL + "test_power_in_the_wrong_direction"),
    Shown("BMS wrong about its SoC", "the element's own estimate",
          "window loses the doubt at both ends",
          _AGENT + "test_a_bms_that_is_wrong_about_its_soc_is_told_of_once"),
    Shown("BMS drifts by 15 % a month", "rest voltage", "flagged, window narrowed",
          "tests/portable/test_estimator.py::"
          "test_a_bms_that_drifts_by_fifteen_percent_a_month_is_found_out"),
    Shown("relay welded", "current at rest", "FETs open, latched",
          _STAGES + "test_a_welded_relay_opens_the_fets"),
    Shown("relay does not close", "measured power", "off, latched",
          _STAGES + "test_a_relay_that_stays_open_is_not_actuated"),
    Shown("pre-charge path broken", "DC-link voltage", "nothing closes, latched",
          _STAGES + "test_a_broken_precharge_closes_nothing"),
    Shown("FET or contactor welded", "DC-link voltage at rest", "off, latched",
          _STAGES + "test_a_welded_fet_is_seen_at_rest"),
    Shown("inverter reports a fault or falls silent", "its status, its age", "off, latched",
          _STAGES + "test_an_inverter_that_fails_or_falls_silent_trips"),
    Shown("the element of an inverter dies", "reversion timer", "it stops by itself",
          _STAGES + "test_an_inverter_without_its_board_stops_by_itself"),
    Shown("power cut at any flash operation", "entries with counter and CRC",
          "no record lost, torn tail on record",
          "tests/hil/test_ledger_littlefs.py::test_no_cut_of_a_thousand_records_loses_any"),
)
