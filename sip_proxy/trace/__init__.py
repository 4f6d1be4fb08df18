"""A flight recorder of SIP messages, and what is made of it: ladders of calls, captures."""

from sip_proxy.trace.ladder import Arrow, Ladder, Participant, ladder_of
from sip_proxy.trace.recent import RecentCall, recent_calls
from sip_proxy.trace.recorder import FlightRecorder, Recorded, RecorderSettings

__all__ = [
    "Arrow",
    "FlightRecorder",
    "Ladder",
    "Participant",
    "RecentCall",
    "Recorded",
    "RecorderSettings",
    "ladder_of",
    "recent_calls",
]
