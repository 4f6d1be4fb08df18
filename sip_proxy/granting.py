"""What a registrar answers: the bindings, and what was agreed on with them (RFC 3261 §10.3 step 8).

Flow-Timer and Require by RFC 5626 §6, Service-Route by RFC 3608 §6.3, Path by RFC 3327 §5.3, GRUUs
by RFC 5627 §5.3.
"""

from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from natkit.machine import Path
from natkit.sip import HeaderField, NameAddress, Response, SipUri
from natkit.sip.kinds import CONTACT, FLOW_TIMER, PATH, REQUIRE, SERVICE_ROUTE
from natkit.sip.values import quote
from sip_proxy.desk import Incoming
from sip_proxy.gruu import Gruus
from sip_proxy.location import Binding, Registration
from sip_proxy.location.binding import LARGEST_Q
from sip_proxy.outbound import OutboundSettings
from sip_proxy.registrar import supported_by

__all__ = ["Grant"]


class Grant:
    """Writes the 200s to REGISTERs."""

    def __init__(self, settings: OutboundSettings, gruus: Gruus, unix_offset: float) -> None:
        self._settings = settings
        self._gruus = gruus
        self._offset = unix_offset

    def configure(self, settings: OutboundSettings) -> None:
        """Go by other settings from now on."""
        self._settings = settings

    def answer(
        self,
        incoming: Incoming,
        to: SipUri,
        registration: Registration,
        bindings: tuple[Binding, ...],
        tag: str,
        now: float,
    ) -> Response:
        """The 200 with all bindings and the seconds that each has left; ``tag`` is for its To."""
        request = incoming.request
        supported = supported_by(request)
        unix_now = now + self._offset
        with_gruus = "gruu" in supported
        fields = [self._contact(to, one, unix_now, with_gruus=with_gruus) for one in bindings]
        if request.headers.has(PATH) and "path" in supported:
            fields.extend(request.headers.fields(PATH))
        if bindings and self._settings.service_route:
            routes = [NameAddress(uri) for uri in self._settings.service_route]
            fields.extend([HeaderField.of(SERVICE_ROUTE, route) for route in routes])
        if _keeps_flow(registration):
            fields.append(HeaderField.of(REQUIRE, "outbound"))
            timer = self.flow_timer(incoming.path, registration)
            if timer is not None:
                fields.append(HeaderField.of(FLOW_TIMER, timer))
        fields.append(_date(int(unix_now)))
        return Response.to(request, 200, tag=tag, fields=fields)

    def flow_timer(self, flow: Path, registration: Registration) -> int | None:
        """The seconds that a connection may be silent, where that was agreed (RFC 5626 §4.4).

        Over datagrams there is none: 29 seconds, which RFC 5626 §4.4.2 has there, suit a NAT.
        """
        if not flow.transport.is_reliable or registration.flow != flow:
            return None
        return self._settings.flow_timer if _keeps_flow(registration) else None

    def _contact(
        self, to: SipUri, binding: Binding, unix_now: float, *, with_gruus: bool
    ) -> HeaderField:
        text = f"<{binding.contact}>;expires={max(0, round(binding.expires_at - unix_now))}"
        if binding.q != LARGEST_Q:
            text += f";q={binding.q / LARGEST_Q:.3g}"
        if binding.instance is not None:
            text += f";+sip.instance={quote(binding.instance)}"
        if binding.reg_id is not None:
            text += f";reg-id={binding.reg_id}"
        if with_gruus:
            text += self._gruu_parameters(to, binding)
        return HeaderField.of_text(CONTACT.name, text)

    def _gruu_parameters(self, to: SipUri, binding: Binding) -> str:
        public = self._gruus.public(to, binding)
        if public is None:
            return ""
        temporary = self._gruus.temporary(to, binding)
        return f";pub-gruu={quote(str(public))};temp-gruu={quote(str(temporary))}"


@lru_cache(8)
def _date(unix_now: int) -> HeaderField:
    date = format_datetime(datetime.fromtimestamp(unix_now, tz=UTC), usegmt=True)
    return HeaderField.of_text("Date", date)


def _keeps_flow(registration: Registration) -> bool:
    """Whether RFC 5626 was applied to it."""
    changes = registration.changes or ()
    return any(change.reg_id is not None and change.expires > 0 for change in changes)
