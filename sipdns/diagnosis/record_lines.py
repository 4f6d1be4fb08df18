"""Records as the lines of a zone file, names absolute."""

from sipdns.records import AddressRecord, CnameRecord, NaptrRecord, SrvRecord

__all__ = ["absolute", "address_line", "alias_line", "naptr_line", "srv_line"]


def absolute(name: str) -> str:
    """The name with its final dot."""
    return name if name.endswith(".") else f"{name}."


def address_line(name: str, record: AddressRecord) -> str:
    """An A or AAAA record."""
    kind = "AAAA" if ":" in record.address else "A"
    return f"{absolute(name)} {record.ttl} IN {kind} {record.address}"


def alias_line(record: CnameRecord) -> str:
    """A CNAME record."""
    return f"{absolute(record.name)} {record.ttl} IN CNAME {absolute(record.target)}"


def srv_line(name: str, record: SrvRecord) -> str:
    """An SRV record."""
    return (
        f"{absolute(name)} {record.ttl} IN SRV "
        f"{record.priority} {record.weight} {record.port} {absolute(record.target)}"
    )


def naptr_line(name: str, record: NaptrRecord) -> str:
    """A NAPTR record."""
    texts = " ".join(_quoted(one) for one in (record.flags, record.service, record.regexp))
    return (
        f"{absolute(name)} {record.ttl} IN NAPTR "
        f"{record.order} {record.preference} {texts} {absolute(record.replacement)}"
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
