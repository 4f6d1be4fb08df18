"""CRLF keep-alive between sipp's messages on one connection; sipp itself answers no ping."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from natkit.aio.keepalive import keep
from natkit.machine import Transport
from natkit.sip import PING, SipFraming
from tests.peering.ports import free_port
from tests.peering.roster import program_path

pytestmark = pytest.mark.peer("sipp")

CALLS: Final = 5
LIMIT: Final = 60.0
ANSWERING: Final = """
<recv request="OPTIONS"/>
<send><![CDATA[
      SIP/2.0 200 OK
      [last_Via:]
      [last_From:]
      [last_To:];tag=[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      Content-Length: 0

  ]]></send>
"""
OPTIONS: Final = (
    "OPTIONS sip:sipp@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP {here};branch=z9hG4bK{number}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:us@invalid.invalid>;tag=1\r\nTo: <sip:invalid.invalid>\r\n"
    "Call-ID: {number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def scenario(directory: Path, steps: str) -> Path:
    file = directory / "scenario.xml"
    head = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<scenario name="keep-alive">\n'
    file.write_text(f"{head}{steps}</scenario>\n")
    return file


@asynccontextmanager
async def sipp(directory: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    program = program_path("sipp")
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        *("-i", "127.0.0.1", "-t", "t1", "-nostdin", "-trace_err", "-error_file", "errors.log"),
        *arguments,
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_our_pings_between_messages_keep_sipp_from_none_of_them(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    file = scenario(tmp_path, ANSWERING)
    async with (
        asyncio.timeout(LIMIT),
        sipp(tmp_path, "-sf", str(file), "-p", str(port), "-m", str(CALLS)) as process,
    ):
        reader, writer = await connect(port)
        sent: list[bytes] = []

        def send(data: bytes) -> None:
            sent.append(data)
            writer.write(data)

        framing = SipFraming()
        answers = 0
        for number in range(CALLS):
            # One after another: as sipp answers no ping, no flow sends a second one.
            async with keep(Transport.TCP, send, bound=0.05) as flow:
                while len(sent) == number:  # noqa: ASYNC110 - a timer of the flow's own sends it
                    await asyncio.sleep(0.01)
                writer.write(OPTIONS.format(here="127.0.0.1", number=number).encode())
                while answers == number:
                    for each in framing.receive(await reader.read(4096)):
                        answers += not flow.received(each)
        # Each ping stood between two messages, where sipp reads over it.
        assert sent == [PING] * CALLS
        assert await process.wait() == 0
        writer.close()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
