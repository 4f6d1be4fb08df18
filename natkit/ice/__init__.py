"""ICE without I/O: candidates are fed to an agent, which finds a path to its peer (RFC 8445).

::

    agent = Agent(IceSettings(controlling=True), random=os.urandom, pacer=Pacer())
    stream = agent.add_stream(components=1)
    agent.local_parameters                              # to the peer, by any signalling
    candidate = agent.add_local_candidate(stream, LocalCandidate(…), now)   # to the peer as well
    agent.end_of_local_candidates(stream, now)
    agent.set_remote_parameters(stream, Parameters(…), now)
    agent.add_remote_candidate(stream, candidate, now)  # any number, at any time
    agent.end_of_remote_candidates(stream, now)
    agent.send(stream, component, data, now)            # once PairValid or PairSelected came
    agent.restart(now)
    agent.close(now)

and the methods of :class:`natkit.machine.Machine`.  Checks begin by themselves when the peer's
parameters and a pair are known.
"""

from natkit.ice.agent import Agent
from natkit.ice.candidate import Candidate, CandidateType, LocalCandidate, NamedAddress, TcpType
from natkit.ice.explanation import Explanation, PairExplanation, PairState
from natkit.ice.framing import PacketFraming, frame
from natkit.ice.pacing import Pacer
from natkit.ice.parameters import Parameters
from natkit.ice.settings import IceSettings

__all__ = [
    "Agent",
    "Candidate",
    "CandidateType",
    "Explanation",
    "IceSettings",
    "LocalCandidate",
    "NamedAddress",
    "Pacer",
    "PacketFraming",
    "PairExplanation",
    "PairState",
    "Parameters",
    "TcpType",
    "frame",
]
