"""coturn's test clients, run with a time limit and judged by what they print.

``turnutils_uclient`` exits with 0 although packets were lost, so :class:`Totals` has what counts.
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from natkit.address import Address
from tests.peering.process import PeerFailed
from tests.peering.roster import program_path

TIME_LIMIT = 60.0
_BYTES = re.compile(r"tot_send_bytes ~ (\d+), tot_recv_bytes ~ (\d+)")
_MESSAGES = re.compile(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)")
_LOST = re.compile(r"Total lost packets (-?\d+)")
_REFLEXIVE = re.compile(r"reflexive addr: (\S+)")


@dataclass(frozen=True, slots=True)
class Totals:
    """How a run of uclient ended; ``exit_status`` is None when the time limit ended it."""

    exit_status: int | None
    sent_messages: int
    received_messages: int
    sent_bytes: int
    received_bytes: int
    lost_packets: int | None
    output: str

    @property
    def is_complete(self) -> bool:
        """Whether it ended well, something was sent, and all of it came back."""
        return (
            self.exit_status == 0
            and self.lost_packets == 0
            and 0 < self.sent_messages == self.received_messages
            and 0 < self.sent_bytes == self.received_bytes
        )


@dataclass(frozen=True, slots=True)
class Reflexive:
    """What ``turnutils_stunclient`` learnt; ``address`` is None when it had no answer."""

    exit_status: int | None
    address: Address | None
    output: str


def uclient(
    server: Address,
    *arguments: str,
    username: str,
    password: str,
    time_limit: float = TIME_LIMIT,
    prefix: Sequence[str] = (),
) -> Totals:
    """Run ``turnutils_uclient`` against ``server``; see its ``-h`` for the flags.

    ``prefix`` is a command that runs it somewhere else.
    """
    credentials = ("-u", username, "-w", password, "-p", str(server.port))
    status, output = run_program(
        "turnutils_uclient",
        *credentials,
        *arguments,
        server.host,
        time_limit=time_limit,
        prefix=prefix,
    )
    sent_messages, received_messages = _last_pair(_MESSAGES, output)
    sent_bytes, received_bytes = _last_pair(_BYTES, output)
    lost = _LOST.findall(output)
    return Totals(
        exit_status=status,
        sent_messages=sent_messages,
        received_messages=received_messages,
        sent_bytes=sent_bytes,
        received_bytes=received_bytes,
        lost_packets=int(lost[-1]) if lost else None,
        output=output,
    )


def stunclient(server: Address, *arguments: str, time_limit: float = TIME_LIMIT) -> Reflexive:
    """Run ``turnutils_stunclient`` against ``server``."""
    status, output = run_program(
        "turnutils_stunclient",
        "-p",
        str(server.port),
        *arguments,
        server.host,
        time_limit=time_limit,
    )
    found = _REFLEXIVE.findall(output)
    if not found:
        return Reflexive(status, None, output)
    host, _, port = found[-1].rpartition(":")  # it writes IPv6 addresses without brackets
    return Reflexive(status, Address.of(host, int(port)), output)


def run_program(
    program: str,
    *arguments: str,
    time_limit: float = TIME_LIMIT,
    prefix: Sequence[str] = (),
) -> tuple[int | None, str]:
    """Run a program; its exit status, None when the time limit ended it, and all that it wrote."""
    path = program_path(program)
    if path is None:
        raise PeerFailed(f"{program} is not installed")
    process = subprocess.Popen(
        [*prefix, path, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        try:
            output, _ = process.communicate(timeout=time_limit)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            return None, output
    return process.returncode, output


def _last_pair(pattern: re.Pattern[str], output: str) -> tuple[int, int]:
    found = pattern.findall(output)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)
