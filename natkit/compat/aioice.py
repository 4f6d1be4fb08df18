"""aioice's ``Connection`` on natkit's ICE agent: an aiortc program runs on it by one line.

::

    import aiortc.rtcicetransport
    from natkit.compat.aioice import Connection

    aiortc.rtcicetransport.Connection = Connection

Servers, interfaces and ports beyond what aioice knows are class attributes of a subclass::

    class Mine(Connection):
        servers = (StunServer("stun:stun1.example.org"), TurnServer("turn:…", "user", "password"))
        gathering = GatherSettings(port_mapping=True)

It needs aioice, whose candidates and events it gives: ``natkit[aioice]``.
"""

import asyncio
import logging
import os
import ssl
from dataclasses import replace
from typing import ClassVar

import aioice
from aioice.ice import ConnectionEvent

from natkit.address import Address, Family
from natkit.aio.ice import Agent
from natkit.aio.mdns import Mdns
from natkit.aio.secure import SYSTEM_TRUST, Trust
from natkit.errors import MalformedMessage, MisuseError, NatkitError
from natkit.gather import GatherSettings, Policy, StunServer, TurnServer
from natkit.gather.endpoint import CandidateFound
from natkit.gather.events import GatheringEnded, ServerFailed
from natkit.ice.candidate import Candidate
from natkit.ice.candidate_attribute import parse_candidate
from natkit.ice.events import IceState, RestartNeeded, StateChanged
from natkit.ice.parameters import Parameters, draw_credentials
from natkit.ice.sdp import Description, MediaDescription, parse_description, write_fragment
from natkit.ice.settings import IceSettings

__all__ = ["Connection"]

_log = logging.getLogger(__name__)


class Connection:
    """What ``aioice.Connection`` is to its users, with natkit's agent and gatherer behind it.

    The arguments and attributes are aioice's.  What it does better: candidates of all servers,
    IPv6 reflexive and relayed ones, checks paced and nominated by RFC 8445, consent by the time
    since the last answer (RFC 7675), RTP of any payload type, and no wait for a silent server.
    """

    servers: ClassVar[tuple[StunServer | TurnServer, ...]] = ()
    """Beside those of the arguments."""

    gathering: ClassVar[GatherSettings] = GatherSettings()
    settings: ClassVar[IceSettings] = IceSettings()

    trust: ClassVar[Trust] = SYSTEM_TRUST
    """Which TURN servers are believed over TLS."""

    quiet: ClassVar[float] = 1.0
    """Seconds without a further candidate after which ``gather_candidates`` waits no longer.

    Candidates that come later serve this side, but the peer is not told of them.  Where only
    relayed candidates are wanted, they are waited for.
    """

    def __init__(
        self,
        ice_controlling: bool,  # noqa: FBT001 - aioice's signature
        components: int = 1,
        stun_server: tuple[str, int] | None = None,
        turn_server: tuple[str, int] | None = None,
        turn_username: str | None = None,
        turn_password: str | None = None,
        turn_ssl: bool | ssl.SSLContext = False,  # noqa: FBT001, FBT002
        turn_transport: str = "udp",
        use_ipv4: bool = True,  # noqa: FBT001, FBT002
        use_ipv6: bool = True,  # noqa: FBT001, FBT002
        transport_policy: aioice.TransportPolicy = aioice.TransportPolicy.ALL,
        local_username: str | None = None,
        local_password: str | None = None,
    ) -> None:
        fragment, password = draw_credentials(os.urandom)
        self._credentials = (local_username or fragment, local_password or password)
        self._components = components
        self._controlling = ice_controlling
        self.remote_is_lite = False
        self.remote_username: str | None = None
        self.remote_password: str | None = None
        self._gathering = self._chosen(transport_policy, ipv4=use_ipv4, ipv6=use_ipv6)
        servers: list[StunServer | TurnServer] = list(self.servers)
        if stun_server is not None:
            servers.append(StunServer(f"stun:{_authority(stun_server)}"))
        if turn_server is not None and turn_username is not None:
            scheme = "turns" if turn_ssl else "turn"
            uri = f"{scheme}:{_authority(turn_server)}?transport={turn_transport}"
            servers.append(TurnServer(uri, turn_username, turn_password or ""))
        self._servers = tuple(servers)
        if isinstance(turn_ssl, ssl.SSLContext):
            raise MisuseError("whom to believe is said by the class attribute trust")
        self._mdns = Mdns()
        self._agent: Agent | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._receiving: dict[int, asyncio.Task[bytes]] = {}
        self._remote: list[aioice.Candidate] = []
        self._remote_ended = False
        self._local: list[aioice.Candidate] = []
        self._peer: Parameters | None = None
        self._connected = False
        self._closing = False
        self._closed = False
        self._news = asyncio.Event()
        self._gathered = False
        self._event_waiter: asyncio.Future[ConnectionEvent | None] | None = None

    # ── what each side is ───────────────────────────────────────────────────────────────────────

    @property
    def ice_controlling(self) -> bool:
        """The role; a conflict of roles may change it."""
        return self._controlling if self._agent is None else self._agent.controlling

    @ice_controlling.setter
    def ice_controlling(self, controlling: bool) -> None:
        self._controlling = controlling
        if self._agent is not None and not self._closing:
            self._agent.take_role(controlling=controlling)

    @property
    def local_username(self) -> str:
        """The username fragment."""
        return self._credentials[0]

    @property
    def local_password(self) -> str:
        """The password."""
        return self._credentials[1]

    @property
    def local_candidates(self) -> list[aioice.Candidate]:
        """Those that ``gather_candidates`` found."""
        return self._local[:]

    @property
    def remote_candidates(self) -> list[aioice.Candidate]:
        """Those that ``add_remote_candidate`` was given, as they were given."""
        return self._remote[:]

    def get_default_candidate(self, component: int) -> aioice.Candidate | None:
        """The one of lowest priority, which reaches furthest."""
        ranked = sorted(self._local, key=lambda each: each.priority)
        return next((each for each in ranked if each.component == component), None)

    # ── setting up ──────────────────────────────────────────────────────────────────────────────

    async def gather_candidates(self) -> None:
        """Gather local candidates; to be called before ``connect``."""
        if self._agent is not None or self._closing:
            return
        self._agent = agent = Agent(
            self._servers,
            controlling=self._controlling,
            components=(self._components,),
            gathering=self._gathering,
            settings=self.settings,
            trust=self.trust,
            mdns=self._mdns,
            credentials=self._credentials,
        )
        self._watcher = asyncio.ensure_future(self._watch(agent))
        agent.start_gathering()
        patience = None if self._gathering.policy is Policy.RELAY else self.quiet
        while not self._gathered and not self._closing:
            self._news.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._news.wait()
            except TimeoutError:
                break
        if not self._closing:
            (media,) = parse_description(agent.local_description).media
            self._local = [_theirs(each) for each in media.candidates]

    async def add_remote_candidate(self, remote_candidate: aioice.Candidate | None) -> None:
        """One of the peer's candidates; None: there are no more.  ValueError after that."""
        if self._remote_ended:
            raise ValueError("Cannot add remote candidate after end-of-candidates.")
        if self._closing:
            return
        if remote_candidate is None:
            self._remote_ended = True
        else:
            self._remote.append(remote_candidate)
        if self._agent is not None and self._peer is not None:
            added = [] if remote_candidate is None else [remote_candidate]
            self._tell(self._agent, self._peer, added)

    async def connect(self) -> None:
        """Find a path to the peer; ConnectionError when there is none."""
        if self._agent is None or self._closing:
            raise ConnectionError("Local candidates gathering was not performed")
        if self.remote_username is None or self.remote_password is None:
            raise ConnectionError("Remote username or password is missing")
        self._peer = Parameters(
            username_fragment=self.remote_username,
            password=self.remote_password,
            lite=self.remote_is_lite,
            # aiortc does not say what the peer's description says of it.
            ice2=False,
        )
        try:
            self._tell(self._agent, self._peer, self._remote)
            await self._agent.connect()
        except (NatkitError, MisuseError) as error:
            raise ConnectionError(f"ICE negotiation failed: {error}") from error
        self._connected = True

    def _tell(self, agent: Agent, peer: Parameters, candidates: list[aioice.Candidate]) -> None:
        media = MediaDescription(
            mid="0",
            parameters=peer,
            candidates=tuple(ours for each in candidates if (ours := _ours(each)) is not None),
            end_of_candidates=self._remote_ended,
        )
        agent.add_remote(write_fragment(Description(media=(media,))))

    # ── data ────────────────────────────────────────────────────────────────────────────────────

    async def send(self, data: bytes) -> None:
        """Send a datagram on the first component."""
        await self.sendto(data, 1)

    async def sendto(self, data: bytes, component: int) -> None:
        """Send a datagram; ConnectionError where there is no path."""
        if self._agent is None or not self._connected:
            raise ConnectionError("Cannot send data, not connected")
        try:
            await self._agent.send(data, component=component)
        except (NatkitError, MisuseError) as error:
            raise ConnectionError(f"Cannot send data: {error}") from error

    async def recv(self) -> bytes:
        """The next datagram of any component."""
        data, _ = await self.recvfrom()
        return data

    async def recvfrom(self) -> tuple[bytes, int]:
        """The next datagram, and its component; ConnectionError when the connection is over."""
        agent = self._agent
        if agent is None or not self._connected:
            raise ConnectionError("Cannot receive data, not connected")
        try:
            if self._components == 1:
                return await agent.receive(component=1), 1
            return await self._receive_any(agent)
        except (NatkitError, MisuseError) as error:
            raise ConnectionError("Connection lost while receiving data") from error

    async def _receive_any(self, agent: Agent) -> tuple[bytes, int]:
        for component in range(1, self._components + 1):
            if component not in self._receiving:
                receiving = asyncio.ensure_future(agent.receive(component=component))
                self._receiving[component] = receiving
        await asyncio.wait(self._receiving.values(), return_when=asyncio.FIRST_COMPLETED)
        component = next(each for each, task in self._receiving.items() if task.done())
        return self._receiving.pop(component).result(), component

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    async def get_event(self) -> ConnectionEvent | None:
        """``ConnectionClosed`` once the connection is over; None when it was over before."""
        if self._closed:
            return None
        if self._event_waiter is None:
            self._event_waiter = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._event_waiter)

    async def close(self) -> None:
        """End the connection; harmless a second time."""
        if self._closing:
            return
        self._closing = True
        self._connected = False
        self._news.set()
        if self._agent is not None:
            await self._agent.close()
        if self._watcher is not None and self._watcher is not asyncio.current_task():
            await self._watcher
        for task in self._receiving.values():
            task.cancel()
        await asyncio.gather(*self._receiving.values(), return_exceptions=True)
        await self._mdns.aclose()
        self._closed = True
        if self._event_waiter is not None and not self._event_waiter.done():
            self._event_waiter.set_result(aioice.ConnectionClosed())

    async def _watch(self, agent: Agent) -> None:
        """Follow the agent's events until its end."""
        async for event in agent:
            match event:
                case CandidateFound() | ServerFailed():
                    self._news.set()
                case GatheringEnded():
                    self._gathered = True
                    self._news.set()
                case RestartNeeded():
                    # Who uses aioice knows no restart: without a path it is over.
                    break
                case StateChanged(IceState.FAILED) if self._connected:
                    break
        if not self._closing:
            await self.close()

    def _chosen(self, policy: aioice.TransportPolicy, *, ipv4: bool, ipv6: bool) -> GatherSettings:
        chosen = self.gathering
        unwanted = {
            family for family, wanted in ((Family.IPV4, ipv4), (Family.IPV6, ipv6)) if not wanted
        }
        if policy is aioice.TransportPolicy.RELAY:
            chosen = replace(chosen, policy=Policy.RELAY)
        return replace(chosen, families=chosen.families - unwanted)


def _authority(server: tuple[str, int]) -> str:
    host, port = server[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ours(candidate: aioice.Candidate) -> Candidate | None:
    """Aioice's candidate as the agent knows it; None for one that it cannot use."""
    try:
        return parse_candidate(candidate.to_sdp())
    except MalformedMessage as error:
        _log.info("remote candidate ignored: %s", error)
        return None


def _theirs(candidate: Candidate) -> aioice.Candidate:
    related = candidate.related
    return aioice.Candidate(
        foundation=candidate.foundation,
        component=candidate.component,
        transport=candidate.transport.value,
        priority=candidate.priority,
        host=candidate.address.host
        if isinstance(candidate.address, Address)
        else candidate.address.name,
        port=candidate.address.port,
        type=candidate.type.value,
        related_address=None if related is None else related.host,
        related_port=None if related is None else related.port,
        tcptype=None if candidate.tcp_type is None else candidate.tcp_type.value,
    )
