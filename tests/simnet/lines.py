"""A stream framing for tests: messages end with a newline, and one of only ``!`` is malformed."""

from collections.abc import Sequence

from natkit.errors import MalformedMessage


class Lines:
    """Satisfies natkit.machine.StreamFraming."""

    def __init__(self) -> None:
        self._rest = b""

    def receive(self, data: bytes) -> Sequence[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if b"!" in lines:
            raise MalformedMessage("no line of this protocol")
        return [line + b"\n" for line in lines]
