"""The edge proxy: what goes on to a registrar elsewhere (RFC 5626 §5, RFC 3327 §5.2)."""

from dataclasses import replace

from natkit.errors import MalformedMessage
from natkit.keepalive import FlowWatch
from natkit.keepalive.outbound import dead_after
from natkit.machine import Path
from natkit.sip import HeaderField, NameAddress, Request, Response
from natkit.sip.flows import Flows
from natkit.sip.kinds import CONTACT, EXPIRES, FLOW_TIMER, PATH, REQUIRE, ROUTE, VIA
from sip_proxy.desk import Desk, Incoming
from sip_proxy.edge import Edge
from sip_proxy.far_end import FarEnd
from sip_proxy.gruu import canonical
from sip_proxy.homes import Homes
from sip_proxy.location import Binding
from sip_proxy.location.binding import LARGEST_Q
from sip_proxy.registrar import address_of_record, supported_by
from sip_proxy.rejection import Rejection
from sip_proxy.routing import with_headers
from sip_proxy.targets import Contact

__all__ = ["Visitors", "comes_from_phone"]


class Visitors:
    """Stays on the way to phones whose first proxy this is, and keeps their flows."""

    def __init__(
        self,
        desk: Desk,
        edge: Edge,
        flows: Flows,
        watch: FlowWatch,
        far_end: FarEnd,
        unix_offset: float,
    ) -> None:
        self._desk = desk
        self.configure()
        self._edge = edge
        self._flows = flows
        self._watch = watch
        self._far_end = far_end
        self._offset = unix_offset

    def configure(self) -> None:
        """Go by the desk's settings as they are now."""
        self._settings = self._desk.settings.outbound
        self._homes = Homes(self._desk.settings.homes)

    def way(self, request: Request) -> Contact | None:
        """Where a visitor's request without Route goes; None for those of others."""
        home = self._homes.of_sender(request)
        if home is None or request.headers.has(ROUTE):
            return None
        if request.method == "REGISTER":
            return Contact(request.uri, hop=home.proxy)
        return Contact(request.uri, route=(home.route,))

    def on_the_way(self, incoming: Incoming, request: Request) -> Request | Rejection:
        """A REGISTER with our entry in its Path, where it came from the phone itself."""
        if not comes_from_phone(incoming):
            return request
        if self._settings.path_needs_support and "path" not in supported_by(request):
            return Rejection(421, None, [HeaderField.of(REQUIRE, "path")])  # RFC 3327 §5.2
        entry = self._edge.entry(incoming.path)
        if entry is None:
            return request
        field = HeaderField.of_text(PATH.name, f"<{entry}>")
        return with_headers(request, request.headers.prepend_field(field))

    def registered(self, incoming: Incoming, response: Response, now: float) -> Response:
        """A registrar accepted a REGISTER of a visitor: the 200 as the phone is to have it."""
        flow = incoming.path
        is_gone = flow.transport.is_reliable and flow not in self._flows
        if is_gone or not comes_from_phone(incoming):
            return response
        try:
            required = {option.lower() for option in response.headers.get_all(REQUIRE)}
            if "outbound" in required:
                return self._with_flow_timer(response, flow, now)
            self._keep_open(incoming, response, now)
        except MalformedMessage:
            # Whatever the registrar wrote, it is for the phone to read.
            pass
        return response

    def _with_flow_timer(self, response: Response, flow: Path, now: float) -> Response:
        """RFC 5626 §5.4: the edge is the one whose connection it is."""
        timer = response.headers.get(FLOW_TIMER)
        ours = self._settings.flow_timer
        if not flow.transport.is_reliable or (timer is None and ours is None):
            return response
        if timer is None and ours is not None:
            timer = ours
            response = replace(response, headers=response.headers.append(FLOW_TIMER, timer))
        self._watch.watch(flow, dead_after(timer or 0), now)
        return response

    def _keep_open(self, incoming: Incoming, response: Response, now: float) -> None:
        asked = incoming.request.headers.first(CONTACT)
        to = address_of_record(incoming.request)
        entry = self._edge.entry(incoming.path)
        if not isinstance(asked, NameAddress) or to is None or entry is None:
            return
        left = _granted(str(asked.uri), response)
        bindings = []
        if left > 0:
            unix_now = now + self._offset
            contact, path = str(asked.uri), (entry,)
            bound = Binding(contact, unix_now + left, LARGEST_Q, "", 0, unix_now, path)
            bindings.append(replace(bound, flow=incoming.path))
        self._far_end.registered(canonical(to), incoming.path, bindings, now)


def _granted(contact: str, response: Response) -> int:
    """The seconds that the registrar gave a contact; 0 when it does not name it."""
    for named in response.headers.get_all(CONTACT):
        if isinstance(named, NameAddress) and str(named.uri) == contact:
            text = named.parameter("expires")
            if text is None:
                return response.headers.get(EXPIRES) or 3600
            return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else 3600
    return 0


def comes_from_phone(incoming: Incoming) -> bool:
    """Whether no other proxy stands between us and who sent a request.  MalformedMessage."""
    return len(incoming.request.headers.get_all(VIA)) == 1
