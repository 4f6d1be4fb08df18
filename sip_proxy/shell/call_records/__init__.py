"""Where the records of calls are kept: a file of JSON lines, or a table of a database."""

from sip_proxy.shell.call_records.opening import CALL_RECORDS, KINDS, recording_at
from sip_proxy.shell.call_records.recording import Recording, Writer

__all__ = ["CALL_RECORDS", "KINDS", "Recording", "Writer", "recording_at"]
