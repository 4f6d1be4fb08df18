"""A gateway in a few lines, for what a real one cannot be made to do at will: forget, lie, fail."""

from dataclasses import dataclass, field

from natkit.portmap.registry import NatPmpOpcode, PcpOpcode, PcpResult

EXTERNAL = "198.51.100.7"
MAPPED_PREFIX = bytes(10) + b"\xff\xff"


@dataclass
class FakeGateway:
    """Answers requests of both protocols.  ``epoch`` is what it says of its age."""

    epoch: int = 1000
    result: int = 0
    lifetime: int | None = None
    speaks_pcp: bool = True
    external_port: int | None = None
    requests: list[bytes] = field(default_factory=list)

    def answer(self, request: bytes) -> bytes:
        """The response to a request."""
        self.requests.append(request)
        if request[0] == 0:
            return self._nat_pmp(request)
        if not self.speaks_pcp:
            return bytes([0, 0x80 | request[1], 0, PcpResult.UNSUPP_VERSION]) + self._epoch()
        return self._pcp(request)

    def _epoch(self) -> bytes:
        return self.epoch.to_bytes(4, "big")

    def _granted(self, asked: int) -> int:
        return asked if self.lifetime is None or not asked else self.lifetime

    def _port(self, suggested: int, internal: int) -> int:
        return self.external_port or suggested or internal

    def _nat_pmp(self, request: bytes) -> bytes:
        head = bytes([0, 0x80 | request[1], 0, self.result]) + self._epoch()
        if request[1] == NatPmpOpcode.EXTERNAL_ADDRESS:
            return head + bytes(map(int, EXTERNAL.split(".")))
        internal, suggested = (int.from_bytes(request[at : at + 2], "big") for at in (4, 6))
        asked = int.from_bytes(request[8:12], "big")
        port = self._port(suggested, internal) if asked else 0
        granted = self._granted(asked).to_bytes(4, "big")
        return head + request[4:6] + port.to_bytes(2, "big") + granted

    def _pcp(self, request: bytes) -> bytes:
        asked = int.from_bytes(request[4:8], "big")
        head = bytes([2, 0x80 | request[1], 0, self.result])
        head += self._granted(asked).to_bytes(4, "big") + self._epoch() + bytes(12)
        body = bytearray(request[24:])
        if request[1] in (PcpOpcode.MAP, PcpOpcode.PEER):
            internal, suggested = (int.from_bytes(body[at : at + 2], "big") for at in (16, 18))
            body[18:20] = self._port(suggested, internal).to_bytes(2, "big")
            body[20:36] = MAPPED_PREFIX + bytes(map(int, EXTERNAL.split(".")))
        return head + bytes(body)
