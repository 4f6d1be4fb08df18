"""What is wrong with a domain's records: rules over all that the DNS says of it.

:class:`Examination` is the machine; :data:`RULES` are the rules.  ``sipdns check`` is the shell.
"""

from sipdns.diagnosis.catalogue import RULES
from sipdns.diagnosis.examination import AskServer, Diagnosis, Examination, Examined
from sipdns.diagnosis.facts import Surroundings
from sipdns.diagnosis.finding import Area, Check, Finding, Fix, Rule, Severity, Status
from sipdns.diagnosis.reply import Inquiry, Reply

__all__ = [
    "RULES",
    "Area",
    "AskServer",
    "Check",
    "Diagnosis",
    "Examination",
    "Examined",
    "Finding",
    "Fix",
    "Inquiry",
    "Reply",
    "Rule",
    "Severity",
    "Status",
    "Surroundings",
]
