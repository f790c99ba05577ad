"""Check how an element takes a new firmware: element.update."""

import os
from io import BytesIO

from fakes import in_folder
from panel import ISSUER, STRANGER, sign1
from update_bench import FILES, Talk, line_of, list_of, manifest_of, parts_of, whole

import slots
from element import update, version
from element.protocol import schema
from element.protocol.errors import DecodeError
from element.update import files_of, is_firmware_path


def fresh(body):
    """Run body in a folder where slot a is active and slot b is empty."""
    def run():
        slots.write("a", "-", 0, ".")
        os.mkdir("a")
        return body()
    return in_folder("update", run)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def test_a_whole_update_is_put_on_trial():
    def body():
        talk = Talk()
        assert whole(talk, FILES)[2] == "" and talk.commits == 1
        assert slots.read() == ("a", "b", 0, ".")
        for path in FILES:
            assert read("b/" + path) == FILES[path]

    fresh(body)


def test_an_update_goes_on_where_it_was_interrupted():
    def body():
        manifest, parts = manifest_of(FILES), parts_of(FILES)
        place = Talk().begin(manifest)[:2]
        for _ in range(12):
            talk = Talk()  # the board has restarted
            place = talk.begin(manifest)
            assert place[2] == "", place
            answer = talk.send(place[:2], parts, limit=1, size=300)
            assert answer[2] == "" and answer >= place
            talk.updater._close()  # what came is on flash; a cut before is tested on littlefs
            if answer[0] > len(FILES):
                break
        assert talk.commit()[2] == "" and slots.read()[1] == "b"

    fresh(body)


def test_another_manifest_begins_anew():
    def body():
        talk = Talk()
        talk.send(talk.begin(manifest_of(FILES))[:2], parts_of(FILES), limit=2)
        other = {"element/agent.mpy": b"M\x06other"}
        answer = whole(Talk(), other)
        assert answer[2] == "" and "bms" not in os.listdir("b/element")
        assert read("b/element/agent.mpy") == b"M\x06other"

    fresh(body)


def test_what_is_refused():
    def body():
        talk = Talk()
        number = version.NUMBER
        for code, manifest in (
            ("manifest signature", manifest_of(FILES, STRANGER)),
            ("typ", sign1(ISSUER, schema.RELEASE_ORDER, {
                "element_id": bytes(8), "order_number": 1, "issued_unix_ms": 0, "cause": 1})),
            ("this version runs already", manifest_of(FILES, number=number)),
            ("older than what runs", manifest_of(FILES, number=number - 1)),
            ("made for another interpreter", manifest_of(FILES, format=99)),
        ):
            assert talk.begin(manifest)[2] == code
        assert talk.begin(b"no manifest")[2] != ""
        assert talk.say(schema.UPDATE_DATA, 0, 0, b"x")[2] == "no manifest"
        assert talk.commit()[2] == "no manifest"
        assert os.listdir("a") == [] and "b" not in os.listdir()
        slots.write("a", "b", 1, ".")
        assert talk.begin(manifest_of(FILES))[2] == "an update is on trial"

    fresh(body)


def test_nothing_is_written_while_power_flows():
    def body():
        talk = Talk()
        talk.rest = False
        assert talk.begin(manifest_of(FILES))[2] == "power flows" and "b" not in os.listdir()
        talk.rest = True
        place = talk.begin(manifest_of(FILES))[:2]
        talk.rest = False
        parts = parts_of(FILES)
        assert talk.send(place, parts)[2] == "power flows"
        talk.rest = True
        answer = talk.send(place, parts)
        assert answer[2] == ""
        talk.rest = False
        assert talk.commit()[2] == "power flows" and slots.read()[1] == "-"
        talk.rest = True
        assert talk.commit()[2] == "" and slots.read()[1] == "b"

    fresh(body)


def test_damaged_data_never_becomes_a_file():
    def body():
        talk = Talk()
        parts = parts_of(FILES)
        place = talk.begin(manifest_of(FILES))[:2]
        wrong = [bytes([part[0] ^ 1]) + part[1:] for part in parts]
        index, offset, code = talk.send(place, [wrong[0]], limit=1)
        assert (index, offset) == (0, 0) and code == ""
        place = talk.send((0, 0), parts[:1])[:2]
        assert place == (1, 0)
        assert talk.say(schema.UPDATE_DATA, 1, 0, wrong[1]) == (1, 0, "")  # asked for again
        assert talk.commit()[2] == "not whole"
        assert talk.say(schema.UPDATE_DATA, 1, 3, b"x")[2] == "out of order"
        assert talk.say(schema.UPDATE_DATA, 2, 0, b"x")[2] == "out of order"
        assert talk.say(schema.UPDATE_DATA, 1, 0, bytes(1000))[2] == "size"
        answer = talk.send((1, 0), parts)
        assert answer == (4, 0, "")
        assert talk.say(schema.UPDATE_DATA, 4, 0, b"x")[2] == "nothing is missing"
        assert talk.commit()[2] == ""

    fresh(body)


def test_a_list_that_leads_elsewhere_is_refused_whole():
    for path in ("board.mpy", "main.py", "element/../board.mpy", "/element/a.mpy", "keys.cbor",
                 "element/a.py", "element//a.mpy", "element/a/b/c.mpy", "a/element/a.mpy",
                 "element/.mpy", "element/A.mpy", "element/" + "a" * 60 + ".mpy", "element"):
        assert not is_firmware_path(path), path
        try:
            files_of(BytesIO(line_of(path, 3, bytes(32))))
        except DecodeError:
            continue
        raise AssertionError(path)
    good = line_of("element/a.mpy", 3, bytes(32))
    for data in (b"", b"\n", good[:-1], good + b"\n", good + b"x", good[1:], b" " + good,
                 good.replace(b" 3 ", b" 0 "), good.replace(b" 3 ", b" 70000 "),
                 good.replace(b" 3 ", b" -3 "), good.replace(b" 3 ", b" x "),
                 good.replace(b"0000 3", b"zzzz 3"), good.replace(b"/a", b"/\xff"),
                 b"".join([line_of("element/a%d.mpy" % n, 60000, bytes(32)) for n in range(8)]),
                 b"".join([line_of("element/a%d.mpy" % n, 3, bytes(32)) for n in range(201)])):
        try:
            files_of(BytesIO(data))
        except DecodeError:
            continue
        raise AssertionError(data)
    assert len(files_of(BytesIO(list_of(FILES)))) == 3

    def body():
        listed = line_of("board.mpy", 3, bytes(32))
        talk = Talk()
        place = talk.begin(manifest_of({}, listed=listed))[:2]
        assert talk.send(place, [listed])[2] == "path"
        assert talk.commit()[2] == "no manifest" and "board.mpy" not in os.listdir("b")

    fresh(body)


def test_a_full_flash_is_an_answer_and_no_failure():
    def body():
        talk = Talk()
        place = talk.begin(manifest_of(FILES))[:2]
        os.mkdir("b/files")  # a file that cannot be opened for writing
        index, offset, code = talk.say(schema.UPDATE_DATA, place[0], place[1], b"x")
        assert code.startswith("flash error") and (index, offset) == (0, 0)

    fresh(body)


def test_a_full_heap_is_an_answer_and_the_next_begin_goes_on():
    """Each open of a file takes a kilobyte in one piece, and any one of them may not get it."""
    def body():
        met = 0
        for number in range(60):
            scarce = Scarce(number)
            update.open = scarce.open
            try:
                talk = Talk()
                code = code_of(talk)
                if scarce.met:
                    met += 1
                    assert code == update.NO_MEMORY, (number, code)
                    assert code_of(talk) == "", number  # the same element, memory again
            finally:
                del update.open
            assert slots.read() == ("a", "b", 0, ".") and talk.commits == 1
            slots.write("a", "-", 0, ".")
            for path in ("b/files", "b/element/agent.mpy"):
                os.remove(path)  # something to do for the next one
            if not scarce.met:
                assert met > 7, met
                return
        raise AssertionError("never through")

    fresh(body)


def code_of(talk):
    """Return what an update that begins ends with."""
    place = talk.begin(manifest_of(FILES))
    if place[2] == "":
        place = talk.send(place[:2], parts_of(FILES))
    return place[2] or talk.commit()[2]


class Scarce:
    """`open` that has no memory once, at its number-th call."""

    def __init__(self, number):
        self.left = number
        self.met = False

    def open(self, path, mode):
        self.left -= 1
        if self.left == -1:
            self.met = True
            raise MemoryError
        return open(path, mode)
