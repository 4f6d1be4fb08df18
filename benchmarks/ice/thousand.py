"""A thousand agents in one process that share a pacer, in simulated time."""

import gc
import heapq
import itertools
import os
import random
import time
from dataclasses import dataclass
from typing import Final

from benchmarks import cpu
from natkit.address import Address
from natkit.ice import Agent, CandidateType, IceSettings, LocalCandidate, Pacer
from natkit.ice.events import IceState
from natkit.machine import Path

__all__ = ["Crowd", "crowd"]

DELAY: Final = 0.010
"""Seconds, one way."""

HOSTS: Final = ("192.0.2", "198.51.100")
"""Networks of which each agent has an address, so that each pair of agents has four pairs."""

AFTERWARDS: Final = 30.0
"""Simulated seconds of consent checks, once all are connected."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """``bytes`` are the growth of resident memory, ``cpu_seconds`` of the whole run.

    ``busiest``: transactions that began in the busiest second; ``connecting``: simulated seconds
    until the last agent had selected its pair; ``completed`` of them did.
    """

    agents: int
    completed: int
    bytes: int
    busiest: int
    connecting: float
    cpu_seconds: float

    @property
    def bytes_an_agent(self) -> float:
        """Of one agent with its pairs."""
        return self.bytes / self.agents


class _Simulation:
    def __init__(self, agents: list[Agent], owners: dict[Address, int]) -> None:
        self.agents = agents
        self.owners = owners
        self.now = 0.0
        self._queue: list[tuple[float, int, int, bytes, Path | None]] = []
        self._numbers = itertools.count()

    def settle(self, index: int) -> None:
        """Send what an agent has to send, and see to its timer."""
        agent = self.agents[index]
        for transmit in agent.transmits():
            path = transmit.path
            to = self.owners.get(path.remote)
            if to is not None:
                back = Path(path.transport, path.remote, path.local)
                self._push(self.now + DELAY, to, transmit.data, back)
        while agent.next_event() is not None:
            pass
        deadline = agent.next_deadline()
        if deadline is not None:
            self._push(deadline, index, b"", None)

    def _push(self, at: float, index: int, data: bytes, path: Path | None) -> None:
        heapq.heappush(self._queue, (max(at, self.now), next(self._numbers), index, data, path))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, index, data, path = heapq.heappop(self._queue)
            agent = self.agents[index]
            if path is not None:
                agent.receive(data, path, self.now)
            else:
                deadline = agent.next_deadline()
                # An older deadline of an agent that has moved on.
                if deadline is None or deadline > self.now:
                    continue
                agent.handle_timer(self.now)
            self.settle(index)
        self.now = until


def crowd(count: int) -> Crowd:
    """Have ``count`` agents meet, two by two, all at once."""
    gc.collect()
    before, used = cpu.resident_bytes(os.getpid()), time.process_time()
    pacer = Pacer()
    chance = random.Random(1)
    agents: list[Agent] = []
    owners: dict[Address, int] = {}
    for index in range(count):
        settings = IceSettings(controlling=index % 2 == 0)
        agent = Agent(settings, random=chance.randbytes, pacer=pacer)
        agent.add_stream()
        agents.append(agent)
        for network in HOSTS:
            # As many ports as there are agents; the hosts are the same two everywhere.
            base = Address(f"{network}.{1 + index % 2}", 10_000 + index)
            owners[base] = index
            kind = CandidateType.HOST
            candidate = LocalCandidate(component=1, type=kind, address=base, base=base)
            agent.add_local_candidate(0, candidate, 0.0)
    simulation = _Simulation(agents, owners)
    for index, agent in enumerate(agents):
        other = agents[index ^ 1]
        agent.set_remote_parameters(0, other.local_parameters, 0.0)
        for told in other.local_candidates(0):
            agent.add_remote_candidate(0, told, 0.0)
        agent.end_of_local_candidates(0, 0.0)
        agent.end_of_remote_candidates(0, 0.0)
        simulation.settle(index)
    connected, begun, busiest, second = 0.0, 0, 0, 0.0
    largest = before
    while second < connected + AFTERWARDS and second < 600:
        # What happens at the end of a second belongs to the next one.
        second += 1.0
        simulation.run(second - 1e-6)
        total = sum(agent.statistics().transactions for agent in agents)
        busiest, begun = max(busiest, total - begun), total
        largest = max(largest, cpu.resident_bytes(os.getpid()))
        if any(agent.state is not IceState.COMPLETED for agent in agents):
            connected = second
    completed = sum(agent.state is IceState.COMPLETED for agent in agents)
    return Crowd(count, completed, largest - before, busiest, connected, time.process_time() - used)
