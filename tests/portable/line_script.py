"""A device on the other end of a fake line: it answers each request as a test's function says."""


class Line:
    """Cut what the driver writes into requests and answer them at once.

    size_of(data): the size of the request at the start of data. answer(request): bytes or None.
    silent: nothing is answered; echo: what comes is sent back first.
    """

    def __init__(self, hal, size_of, answer):
        self.hal = hal
        self.size_of = size_of
        self.answer = answer
        self.silent = False
        self.echo = False
        self.requests = []
        self.times = []
        hal.bms_uart.on_write = self.take

    def take(self, data):
        while data:
            size = self.size_of(data)
            request, data = data[:size], data[size:]
            self.requests.append(request)
            self.times.append(self.hal.now_ms)
            if self.echo:
                self.hal.bms_uart.rx += request
            answer = None if self.silent else self.answer(request)
            if answer is not None:
                self.hal.bms_uart.rx += answer


def feed_all(protocol, pieces):
    """Return every frame that comes out of the pieces."""
    out = []
    for piece in pieces:
        frame = protocol.feed(piece)
        for _ in range(200):
            if frame is None:
                break
            out.append(frame)
            frame = protocol.feed(b"")
    return out


def snapshot(reading):
    """Return every value of a reading."""
    names = [name for name in dir(reading)
             if not name.startswith("_") and not callable(getattr(reading, name))]
    return [list(reading.cell_mv) if name == "cell_mv" else getattr(reading, name)
            for name in names]


def flips(frame):
    """Yield (index, frame with one bit of that byte flipped) for every bit of a frame."""
    for index in range(len(frame)):
        for bit in range(8):
            damaged = bytearray(frame)
            damaged[index] ^= 1 << bit
            yield index, bytes(damaged)


def survives_garbage(protocol, good):
    """Feed noise of all kinds; the buffer stays bounded and good frames come out again."""
    seed = 7
    for size in (1, 7, 64, 500, 4096):
        for fill in (good[0], good[1], 0, 0xFF, None):
            data = bytearray(size)
            for index in range(size):
                seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
                data[index] = seed >> 16 & 255 if fill is None else fill
            feed_all(protocol, [bytes(data)])
            assert len(protocol._buffer) <= protocol.backlog_max
            count = 2 * protocol.size_max // len(good) + 2
            assert good in feed_all(protocol, [good] * count)


def split_everywhere(make, frame):
    """Return True when a frame cut at every place, and byte by byte, comes out whole."""
    for cut in range(len(frame) + 1):
        if feed_all(make(), [frame[:cut], frame[cut:]]) != [frame]:
            return False
    single = [frame[index:index + 1] for index in range(len(frame))]
    return feed_all(make(), single) == [frame]


def refused(protocol, frame, kind, reading):
    """Return the code of the DecodeError, having checked that the reading did not change."""
    from element.protocol.errors import DecodeError

    before = snapshot(reading)
    try:
        protocol.take(frame, kind, reading)
    except DecodeError as error:
        assert snapshot(reading) == before, error.code
        return error.code
    raise AssertionError("accepted")
