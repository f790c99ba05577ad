"""The errors that both sides raise. They carry fields, not prose."""


class Error(Exception):
    """Root of the project's errors.

    code: a short constant string naming what was wrong (a field, a check).
    value: the offending value, or None when there is none to show.
    """

    def __init__(self, code: str, value=None):
        super().__init__(code, value)
        self.code = code
        self.value = value


class DecodeError(Error):
    """The peer sent bytes that are not a valid message: count and drop them."""


class RangeError(Error):
    """A value lies outside its range: refuse and report."""


class SignatureError(Error):
    """A signature, tag, sequence or trust check failed: refuse and attest."""


class BusError(Error):
    """A device on a bus did not answer or answered wrongly: bounded retry, then trip."""
