"""The registrar at work: a REGISTER, who sent it, what it changed, and its answer."""

from functools import partial

from natkit.errors import MalformedMessage
from natkit.keepalive import FlowWatch
from natkit.keepalive.outbound import dead_after
from natkit.machine import Failure
from natkit.sip import Request, SipUri
from sip_proxy.authentication import Authentication, Role
from sip_proxy.desk import Desk, Incoming
from sip_proxy.edge import Edge
from sip_proxy.events import BindingsChanged, ProxyResult, UpdateBindings
from sip_proxy.far_end import FarEnd
from sip_proxy.granting import Grant
from sip_proxy.gruu import kept_by
from sip_proxy.hooks import Point
from sip_proxy.location import Accepted, Refused, Registration
from sip_proxy.lost_flows import LostFlows
from sip_proxy.policies import Policies
from sip_proxy.proving import Prover
from sip_proxy.registrar import address_of_record, read_registration
from sip_proxy.rejection import Rejection
from sip_proxy.unavailable import retry_later, unavailable
from sip_proxy.validation import unsupported

__all__ = ["Registering"]


class Registering:
    """RFC 3261 §10.3 in its order, with RFC 5626 §6."""

    def __init__(
        self,
        desk: Desk,
        edge: Edge,
        lost: LostFlows,
        watch: FlowWatch,
        far_end: FarEnd,
        authentication: Authentication,
        prover: Prover,
        grant: Grant,
        policies: Policies,
    ) -> None:
        self._desk = desk
        self._edge = edge
        self._lost = lost
        self._watch = watch
        self._far_end = far_end
        self._authentication = authentication
        self._prover = prover
        self._grant = grant
        self._policies = policies

    def register(self, incoming: Incoming, request: Request, now: float) -> None:
        """Answer a REGISTER for a domain of ours; MalformedMessage when it cannot be read."""
        fault = unsupported(request)  # step 2
        if fault is not None:
            self._reject(incoming, fault, now)
            return
        to = address_of_record(request)
        if to is None or not self._desk.settings.serves(to.host) or to.user is None:
            self._desk.reject(incoming, 404, now)  # step 5
            return
        if self._authentication.is_needed(incoming.path):
            self._prover.require(
                incoming,
                to,
                Role.REGISTRAR,
                lambda at: self._change(incoming, request, to, at),
                now,
            )
        else:
            self._change(incoming, request, to, now)

    def _change(self, incoming: Incoming, request: Request, to: SipUri, now: float) -> None:
        try:
            asked = read_registration(request, self._desk.settings, incoming.path, self._edge)
        except MalformedMessage as error:
            asked = Rejection(400, str(error))
        if isinstance(asked, Rejection):
            self._reject(incoming, asked, now)
            return
        address, registration = kept_by(to), asked
        if not self._policies.wants(Point.REGISTER):
            self._update(incoming, to, address, registration, now)
            return

        def decided(refusal: Rejection | None, at: float) -> None:
            if refusal is not None:
                self._reject(incoming, refusal, at)
            else:
                self._update(incoming, to, address, registration, at)

        self._policies.ask_registration(incoming, address, decided, now)

    def _update(
        self, incoming: Incoming, to: SipUri, address: str, registration: Registration, now: float
    ) -> None:
        self._desk.ask(
            lambda number: UpdateBindings(number, address, registration),
            partial(self._changed, incoming, to, address, registration),
            now,
        )

    def _changed(
        self,
        incoming: Incoming,
        to: SipUri,
        address: str,
        registration: Registration,
        outcome: ProxyResult | Failure,
        now: float,
    ) -> None:
        if isinstance(outcome, Accepted):
            tag = self._desk.new_tag()
            response = self._grant.answer(incoming, to, registration, outcome.bindings, tag, now)
            self._desk.respond(incoming, response, now, by_us=True)
            self._desk.events.append(BindingsChanged(address, outcome.bindings))
            if self._lost.registered(address, incoming.path, outcome.bindings, now):
                self._far_end.registered(address, incoming.path, outcome.bindings, now)
                self._watch_flow(incoming, registration, now)
        elif isinstance(outcome, Refused):
            fields = [retry_later(self._desk.random)] if outcome.status == 503 else []
            self._desk.reject(incoming, outcome.status, now, reason=outcome.reason, fields=fields)
        elif isinstance(outcome, Failure):
            fault = unavailable("The location service", outcome, self._desk.random)
            self._reject(incoming, fault, now)

    def _watch_flow(self, incoming: Incoming, registration: Registration, now: float) -> None:
        timer = self._grant.flow_timer(incoming.path, registration)
        if timer is not None:
            self._watch.watch(incoming.path, dead_after(timer), now)

    def _reject(self, incoming: Incoming, fault: Rejection, now: float) -> None:
        self._desk.reject(incoming, fault.status, now, reason=fault.reason, fields=fault.fields)
