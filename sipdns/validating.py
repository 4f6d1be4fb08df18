"""Nameservers whose answers are checked by DNSSEC here."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from natkit.aio.scoped import Scoped
from natkit.machine import Failure
from sipdns.chain import ChainCache
from sipdns.dnssec import AskForKeys, Judged, Validation
from sipdns.messages import Asking
from sipdns.nameservers import Nameservers
from sipdns.query import Answered
from sipdns.records import Answer, Question, Security, Unanswered
from sipdns.signatures import Judgement
from sipdns.trust_anchors import ROOT_ANCHORS, Anchors

__all__ = ["ValidatingNameservers"]

SIGNED: Final = Asking(signed=True)


class ValidatingNameservers(Scoped):
    """As :class:`sipdns.nameservers.Nameservers`, which it asks and closes; one event loop.

    An answer that is bogus is withheld: the question is Unanswered.  ``clock`` gives Unix time.
    """

    def __init__(
        self,
        nameservers: Nameservers,
        *,
        clock: Callable[[], float],
        anchors: Anchors = ROOT_ANCHORS,
    ) -> None:
        self._nameservers = nameservers
        self._anchors = anchors
        self._clock = clock
        self._cache = ChainCache()

    async def aclose(self) -> None:
        """Close what the nameservers keep open."""
        await self._nameservers.aclose()

    async def ask(self, question: Question) -> Answer | Unanswered:
        """The answer with its security, or why there is none."""
        answered = await self._nameservers.fetch(question, SIGNED)
        answer = answered.result
        if isinstance(answer, Unanswered):
            return answer
        judgement = await self._judge(answered)
        judged = replace(
            answer,
            security=judgement.security,
            security_reason=judgement.reason,
            # Nothing proves what came along; it is asked for where it is needed.
            additional=(),
            signed_until=judgement.expires,
        )
        if judgement.security is not Security.BOGUS:
            return judged if judgement.ttl is None else judged.at_most(judgement.ttl)
        return Unanswered(
            f"DNSSEC says that the answer is bogus: {judgement.reason}",
            attempts=answer.attempts,
            seconds=answer.seconds,
            security=Security.BOGUS,
            withheld=judged,
        )

    async def _judge(self, answered: Answered) -> Judgement:
        loop = asyncio.get_running_loop()
        validation = Validation(
            answered.messages,
            anchors=self._anchors,
            now=loop.time(),
            unix_offset=self._clock() - loop.time(),
            cache=self._cache,
        )
        while True:
            match validation.next_event():
                case Judged(judgement):
                    return judgement
                case AskForKeys(request_id, question):
                    validation.answer(request_id, await self._fetch(question), loop.time())
                case None:
                    raise AssertionError("a validation has something to ask until it ends")

    async def _fetch(self, question: Question) -> bytes | Failure:
        answered = await self._nameservers.fetch(question, SIGNED)
        if isinstance(answered.result, Unanswered):
            return answered.result
        if not answered.messages:
            return Failure("the name does not fit into a query")
        return answered.messages[0][1]
