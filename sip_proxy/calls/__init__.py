"""Calls as a whole: which go on, what each of them came to, and how many a user may have."""

from sip_proxy.calls.record import BranchRecord, CallRecord, Release
from sip_proxy.calls.settings import CallSettings
from sip_proxy.calls.table import Calls, RunningCall

__all__ = ["BranchRecord", "CallRecord", "CallSettings", "Calls", "Release", "RunningCall"]
