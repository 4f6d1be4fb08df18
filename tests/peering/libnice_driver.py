"""A libnice agent that is steered by lines of JSON; runs under the system's Python, which has gi.

``python3 libnice_driver.py '{"controlling": true, …}'``; what may stand there is :data:`DEFAULTS`.
In come ``{"do": …}``, out go ``{"event": …}``; :mod:`tests.peering.libnice` is the other end.
"""

import ctypes
import json
import os
import sys
from types import SimpleNamespace

import gi

gi.require_version("Nice", "0.1")
from gi.repository import GLib, Nice  # noqa: E402 - the version is chosen first

DEFAULTS = {
    "controlling": True,
    "components": 1,
    "udp": True,
    "tcp": False,
    "lite": False,
    "trickle": False,
    "aggressive": False,
    "consent": True,
    "addresses": ["127.0.0.1"],
    "stun": None,
    "turn": None,
    "pacing": None,
}

RECEIVE = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.c_uint,
    ctypes.POINTER(ctypes.c_char),
    ctypes.c_void_p,
)


def tell(event: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


class Driver:
    def __init__(self, options: SimpleNamespace) -> None:
        self.options = options
        self.loop = GLib.MainLoop()
        self.begun = b""
        flags = Nice.AgentOption(0)
        if not options.aggressive:
            flags |= Nice.AgentOption.REGULAR_NOMINATION
        if options.lite:
            flags |= Nice.AgentOption.LITE_MODE
        if options.trickle:
            flags |= Nice.AgentOption.ICE_TRICKLE
        if options.consent:
            flags |= Nice.AgentOption.CONSENT_FRESHNESS
        agent = Nice.Agent.new_full(GLib.MainContext.default(), Nice.Compatibility.RFC5245, flags)
        self.agent = agent
        agent.set_property("controlling-mode", options.controlling)
        agent.set_property("ice-udp", options.udp)
        agent.set_property("ice-tcp", options.tcp)
        agent.set_property("upnp", False)
        if options.pacing:
            agent.set_property("stun-pacing-timer", options.pacing)
        if options.stun:
            agent.set_property("stun-server", options.stun[0])
            agent.set_property("stun-server-port", options.stun[1])
        for host in options.addresses:
            address = Nice.Address.new()
            address.set_from_string(host)
            agent.add_local_address(address)
        agent.connect("new-candidate-full", lambda _, candidate: self.on_candidate(candidate))
        agent.connect("candidate-gathering-done", lambda *_: self.on_gathered())
        agent.connect("component-state-changed", lambda _, __, *told: self.on_state(*told))
        agent.connect("new-selected-pair-full", lambda _, __, *told: self.on_selected(*told))
        agent.connect("initial-binding-request-received", lambda *_: tell("checked"))
        self.stream = agent.add_stream(options.components)
        self.attach_receivers()
        if options.turn:
            host, port, user, password, kind = options.turn
            for component in range(1, options.components + 1):
                relay = {"udp": Nice.RelayType.UDP, "tcp": Nice.RelayType.TCP}[kind]
                agent.set_relay_info(self.stream, component, host, port, user, password, relay)
        _, fragment, password = agent.get_local_credentials(self.stream)
        tell("credentials", fragment=fragment, password=password)

    def attach_receivers(self) -> None:
        # What takes or gives bytes is not to be had through gi.
        self.library = ctypes.CDLL("libnice.so.10")
        self.library.nice_agent_send.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        self.library.nice_agent_send.argtypes += [ctypes.c_uint, ctypes.c_char_p]
        attach = self.library.nice_agent_attach_recv
        attach.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p]
        attach.argtypes += [RECEIVE, ctypes.c_void_p]
        attach.restype = ctypes.c_int
        # Kept, for the library calls it.
        self.receive = RECEIVE(
            lambda _, __, component, size, data, ___: self.on_data(
                component, ctypes.string_at(data, size)
            )
        )
        for component in range(1, self.options.components + 1):
            # The hash of a GObject is its address.
            attach(hash(self.agent), self.stream, component, None, self.receive, None)

    def on_candidate(self, candidate: object) -> None:
        if self.options.trickle:
            self.tell_candidate(candidate)

    def tell_candidate(self, candidate: object) -> None:
        tell("candidate", line=self.agent.generate_local_candidate_sdp(candidate))

    def on_gathered(self) -> None:
        if not self.options.trickle:
            for component in range(1, self.options.components + 1):
                for candidate in self.agent.get_local_candidates(self.stream, component):
                    self.tell_candidate(candidate)
        tell("gathered")

    def on_state(self, component: int, state: int) -> None:
        tell("state", component=component, state=Nice.component_state_to_string(state))

    def on_selected(self, component: int, local: object, remote: object) -> None:
        lines = [self.agent.generate_local_candidate_sdp(each) for each in (local, remote)]
        tell("selected", component=component, local=lines[0], remote=lines[1])

    def on_data(self, component: int, data: bytes) -> None:
        tell("data", component=component, data=data.hex())

    def on_input(self) -> bool:
        data = os.read(0, 1 << 16)
        if not data:
            self.loop.quit()
            return False
        *lines, self.begun = (self.begun + data).split(b"\n")
        for line in lines:
            self.obey(SimpleNamespace(**json.loads(line)))
        return True

    def obey(self, command: SimpleNamespace) -> None:
        match command.do:
            case "gather":
                self.agent.gather_candidates(self.stream)
            case "remote":
                fragment, password = command.fragment, command.password
                self.agent.set_remote_credentials(self.stream, fragment, password)
            case "candidates":
                self.add_candidates(command.lines)
            case "end":
                self.agent.peer_candidate_gathering_done(self.stream)
            case "send":
                data = bytes.fromhex(command.data)
                agent, component = hash(self.agent), command.component
                sent = self.library.nice_agent_send(agent, self.stream, component, len(data), data)
                if sent != len(data):
                    tell("unsent", sent=sent)
            case "restart":
                self.agent.restart()
                _, fragment, password = self.agent.get_local_credentials(self.stream)
                tell("credentials", fragment=fragment, password=password)
                self.on_gathered()

    def add_candidates(self, lines: list[str]) -> None:
        by_component: dict[int, list[object]] = {}
        for line in lines:
            candidate = self.agent.parse_remote_candidate_sdp(self.stream, line)
            if candidate is None:
                tell("refused", line=line)
            else:
                by_component.setdefault(int(line.split()[1]), []).append(candidate)
        for component, candidates in by_component.items():
            count = self.agent.set_remote_candidates(self.stream, component, candidates)
            tell("added", component=component, count=count)

    def run(self) -> None:
        events = GLib.IOCondition.IN | GLib.IOCondition.HUP
        GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, events, lambda *_: self.on_input())
        self.loop.run()


if __name__ == "__main__":
    Driver(SimpleNamespace(**(DEFAULTS | json.loads(sys.argv[1])))).run()
