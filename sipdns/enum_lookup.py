"""The awaitable face of ENUM."""

import asyncio
from collections.abc import Sequence

from sipdns.enum import (
    E164_ARPA,
    AskForNumber,
    EnumOutcome,
    EnumResolution,
    EnumResolved,
    read_number,
)
from sipdns.locator import Dns

__all__ = ["look_up_number"]


async def look_up_number(
    number: str,
    dns: Dns,
    *,
    suffixes: Sequence[str] = (E164_ARPA,),
    service: str | None = None,
) -> EnumOutcome:
    """The URIs of a telephone number, by asking ``dns``; a failure stands in ``error``.

    MisuseError for what is no number, suffix or Enumservice; see :class:`EnumResolution`.
    """
    resolution = EnumResolution(read_number(number), suffixes=suffixes, service=service)
    loop = asyncio.get_running_loop()
    while True:
        asked: list[AskForNumber] = []
        while event := resolution.next_event():
            if isinstance(event, EnumResolved):
                return event.outcome
            asked.append(event)
        answers = await asyncio.gather(*(dns.ask(one.question) for one in asked))
        for one, answer in zip(asked, answers, strict=True):
            resolution.answer(one.request_id, answer, loop.time())
