"""Amounts as people read them, in few characters."""

__all__ = ["count", "duration", "size"]

_PREFIXES = " kMGTP"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def size(octets: float) -> str:
    """Bytes: ``0 B``, ``17.3 MB`` (by powers of 1000)."""
    for prefix in _PREFIXES:
        if octets < 999.5 or prefix == _PREFIXES[-1]:
            break
        octets /= 1000
    unit = f"{prefix}B".strip()
    whole = unit == "B" or octets >= 99.95
    return f"{octets:.0f} {unit}" if whole else f"{octets:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds by the two largest units: ``0 s``, ``2 h 5 min``."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for length, unit in _UNITS:
        number, left = divmod(left, length)
        if parts:
            # What is two units below does not matter.
            if number:
                parts.append(f"{number} {unit}")
            break
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts) or "0 s"


def count(number: int, noun: str = "") -> str:
    """A number with its thousands apart: ``12,345``, ``1 session``, ``2 sessions``."""
    text = f"{number:,}"
    if not noun:
        return text
    return f"{text} {noun}" if number == 1 else f"{text} {noun}s"
