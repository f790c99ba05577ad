"""What a target raises when a decoder accepted what it must not."""


class DefectError(Exception):
    """A decoder accepted, produced or kept something that it must not."""
