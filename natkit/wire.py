"""Bounds-checked reading and writing of network byte order; nothing else parses binary by hand.

The relay plane and the batched sockets, which work on buffers, are the exceptions.
"""

from natkit.errors import MalformedMessage


class Reader:
    """Reads big-endian fields from bytes; running past the end raises MalformedMessage."""

    __slots__ = ("_data", "_end", "_offset")

    def __init__(self, data: bytes, offset: int = 0, end: int | None = None) -> None:
        self._data = data
        self._offset = offset
        self._end = len(data) if end is None else end

    @property
    def offset(self) -> int:
        """Bytes from the start of the data to the next field."""
        return self._offset

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self._end - self._offset

    def u8(self) -> int:
        """One unsigned byte."""
        return self._take(1)[0]

    def u16(self) -> int:
        """Two bytes, unsigned."""
        return int.from_bytes(self._take(2), "big")

    def u32(self) -> int:
        """Four bytes, unsigned."""
        return int.from_bytes(self._take(4), "big")

    def u64(self) -> int:
        """Eight bytes, unsigned."""
        return int.from_bytes(self._take(8), "big")

    def raw(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        return self._take(length)

    def rest(self) -> bytes:
        """Everything that remains."""
        return self._take(self.remaining)

    def finish(self) -> None:
        """Assert that everything was read; MalformedMessage when bytes are left over."""
        if self._offset != self._end:
            raise MalformedMessage(f"{self.remaining} bytes left over")

    def _take(self, length: int) -> bytes:
        start = self._offset
        stop = start + length
        if length < 0 or stop > self._end:
            raise MalformedMessage(f"{length} bytes wanted, {self.remaining} left")
        self._offset = stop
        return self._data[start:stop]


class Writer:
    """Appends big-endian fields; values must fit their width (OverflowError is a bug of ours)."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def u8(self, value: int) -> None:
        """One unsigned byte."""
        self._data += value.to_bytes(1, "big")

    def u16(self, value: int) -> None:
        """Two bytes, unsigned."""
        self._data += value.to_bytes(2, "big")

    def u32(self, value: int) -> None:
        """Four bytes, unsigned."""
        self._data += value.to_bytes(4, "big")

    def u64(self, value: int) -> None:
        """Eight bytes, unsigned."""
        self._data += value.to_bytes(8, "big")

    def raw(self, value: bytes) -> None:
        """The bytes as they are."""
        self._data += value

    def set_u16(self, offset: int, value: int) -> None:
        """Overwrite two bytes at ``offset``, for lengths known afterwards."""
        self._data[offset : offset + 2] = value.to_bytes(2, "big")

    def getvalue(self) -> bytes:
        """What was written so far."""
        return bytes(self._data)
