"""sipp: a user agent that plays a scenario, run with a time limit and judged by its exit status."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from natkit.address import Address
from natkit.machine import Transport
from tests.peering.roster import program_path

TIME_LIMIT = 60
_TRANSPORTS = {Transport.UDP: "u1", Transport.TCP: "t1"}


@dataclass(frozen=True, slots=True)
class Played:
    """How a scenario ended: 0 when each of its calls succeeded."""

    exit_status: int
    output: str


class Sipp:
    """One sipp, on a port that was free."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        self._process = process
        self._errors = errors

    @classmethod
    async def start(
        cls,
        directory: Path,
        name: str,
        local: Address,
        remote: Address | None,
        scenario: str,
        *options: str,
        transport: Transport = Transport.UDP,
    ) -> "Sipp":
        """Play one of sipp's own scenarios, ``uac`` or ``uas``, or one written as XML."""
        errors = directory / f"{name}-errors.log"
        if scenario.lstrip().startswith("<"):
            file = directory / f"{name}.xml"
            file.write_text(scenario)
            chosen = ["-sf", str(file)]
        else:
            chosen = ["-sn", scenario]
        arguments: Sequence[str] = [
            *([] if remote is None else [str(remote)]),
            *chosen,
            *("-i", local.host, "-p", str(local.port), "-t", _TRANSPORTS[transport]),
            *("-nostdin", "-timeout", str(TIME_LIMIT), "-timeout_error"),
            *("-trace_err", "-error_file", str(errors)),
            *options,
        ]
        process = await asyncio.create_subprocess_exec(
            program_path("sipp") or "sipp",
            *arguments,
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return cls(process, errors)

    async def played(self) -> Played:
        """Wait for its end."""
        status = await self._process.wait()
        return Played(status, self._errors.read_text() if self._errors.exists() else "")

    async def stop(self) -> None:
        """End it, if it has not."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
