"""Check which firmware a board starts: slots.py, the loader."""

import os

from fakes import in_folder

import slots


def in_slots(body):
    in_folder("slots", body)


def test_without_a_state_there_are_no_slots():
    in_slots(lambda: check(slots.read() is None and slots.taken_note() == "."))


def check(condition):
    assert condition


def test_the_active_slot_starts_and_a_strange_file_starts_nothing():
    def body():
        slots.write("b", "-", 0, ".")
        assert slots.choose() == ("b", False) and slots.other("b") == "a"
        for text in ("", "b", "b-0", "x-0.", "b-x.", "b-0x", "b-0.."):
            with open(slots.STATE_FILE, "w") as file:
                file.write(text)
            assert slots.read() == ("-", "-", 0, "."), text
            assert slots.choose() == ("-", False)

    in_slots(body)


def test_a_candidate_that_never_confirms_is_given_up_after_its_tries():
    def body():
        slots.write("a", "b", 0, ".")
        assert [slots.choose() for _ in range(4)] == [("b", True), ("b", True), ("a", False),
                                                      ("a", False)]
        assert slots.read() == ("a", "-", 0, "r")
        assert slots.taken_note() == "r" and slots.taken_note() == "."

    in_slots(body)


def test_a_candidate_that_confirms_stays():
    def body():
        slots.write("a", "b", 0, ".")
        assert slots.choose() == ("b", True) and slots.taken_note() == "."
        slots.confirm()
        assert slots.choose() == ("b", False)
        slots.confirm()  # nothing is on trial: nothing changes
        assert slots.read() == ("b", "-", 0, "u") and slots.taken_note() == "u"
        assert slots.read() == ("b", "-", 0, ".")

    in_slots(body)


def test_a_trial_that_cannot_be_counted_does_not_begin():
    def body():
        for tries in (0, 2):
            slots.write("a", "b", tries, ".")
            os.mkdir(slots.STATE_FILE + ".new")  # every write fails
            try:
                assert slots.choose() == ("a", False)
            finally:
                os.rmdir(slots.STATE_FILE + ".new")
            assert slots.read() == ("a", "b", tries, ".")

    in_slots(body)


def test_the_repl_is_wanted_once():
    def body():
        assert not slots.repl_wanted()
        with open(slots.REPL_FILE, "w"):
            pass
        assert slots.repl_wanted() and not slots.repl_wanted()

    in_slots(body)
