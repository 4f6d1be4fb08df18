"""A ladder as text, for terminals; plain ASCII, so that it can be mailed and pasted."""

from datetime import UTC, datetime
from typing import Final

from sip_proxy.trace.ladder import Arrow, Ladder, Participant

__all__ = ["as_text"]

_TIME: Final = 9
"""Characters of the time that stands before each arrow."""
_NARROWEST: Final = 20
"""Characters between two columns, so that the start of a message fits."""


def as_text(ladder: Ladder, width: int = 100) -> str:
    """The ladder in lines of ``width`` characters; where its columns do not fit, a list."""
    count = len(ladder.participants)
    gap = (width - _TIME - 2) // count
    longest = max(len(_address(each)) for each in ladder.participants)
    lines = [_title(ladder), ""]
    if gap < max(_NARROWEST, longest + 2):
        lines += _list(ladder)
    else:
        lines += _drawn(ladder, min(gap, 40))
    return "\n".join(each.rstrip() for each in lines) + "\n"


def _title(ladder: Ladder) -> str:
    start = datetime.fromtimestamp(ladder.arrows[0].time, UTC)
    cut = "; there were more before" if ladder.is_cut else ""
    count = len(ladder.arrows)
    moment = f"{start:%Y-%m-%d %H:%M:%S}.{start.microsecond // 1000:03d} UTC"
    return (
        f"Call-ID {ladder.call_id}\n{count} message{'' if count == 1 else 's'} from {moment}{cut}"
    )


def _drawn(ladder: Ladder, gap: int) -> list[str]:
    positions = [_TIME + gap // 2 + gap * index for index in range(len(ladder.participants))]
    names = [each.name for each in ladder.participants]
    addresses = [_address(each) for each in ladder.participants]
    lines = [_centred(texts, positions, gap) for texts in (names, addresses) if any(texts)]
    rungs = _rungs(positions)
    lines.append(rungs)
    for arrow, time in zip(ladder.arrows, _times(ladder), strict=True):
        lines.append(_arrow(arrow, time, rungs, positions))
    return lines


def _arrow(arrow: Arrow, time: str, rungs: str, positions: list[int]) -> str:
    left, right = sorted((positions[arrow.sender], positions[arrow.receiver]))
    room = right - left - 1
    # What passes a column between does not stop there.
    label = f" {_label(arrow)} "
    if len(label) > room - 3:
        label = f"{label[: room - 7].rstrip()}... "
    line = label.center(room - 1, "-")
    line = f"{line}>" if arrow.sender < arrow.receiver else f"<{line}"
    drawn = rungs[: left + 1] + line + rungs[right:]
    return time.rjust(_TIME - 1) + drawn[_TIME - 1 :]


def _list(ladder: Ladder) -> list[str]:
    lines = []
    for number, each in enumerate(ladder.participants):
        name = f" {each.name}" if each.name and each.address else ""
        lines.append(f"  [{number}] {_address(each) or 'proxy'}{name}")
    lines.append("")
    for arrow, time in zip(ladder.arrows, _times(ladder), strict=True):
        lines.append(f"{time:>{_TIME}}  [{arrow.sender}] -> [{arrow.receiver}]  {_label(arrow)}")
    return lines


def _times(ladder: Ladder) -> list[str]:
    start = ladder.arrows[0].time
    return [f"+{each.time - start:.3f}" for each in ladder.arrows]


def _label(arrow: Arrow) -> str:
    """Method or status, with what tells it from its like."""
    word, _, rest = arrow.summary.partition(" ")
    is_response = word.isdecimal()
    method = arrow.cseq.partition(" ")[2]
    text = f"{word} {rest}" if is_response else word
    if is_response and method not in {"", "INVITE"}:
        text = f"{word} ({method})"
    if arrow.has_sdp:
        text += " SDP"
    return f"{text} again" if arrow.is_repeated else text


def _rungs(positions: list[int]) -> str:
    line = [" "] * (positions[-1] + 1)
    for position in positions:
        line[position] = "|"
    return "".join(line)


def _centred(texts: list[str], positions: list[int], gap: int) -> str:
    line = ""
    for text, position in zip(texts, positions, strict=True):
        cut = text[: gap - 1]
        line = line.ljust(position - len(cut) // 2) + cut
    return line


def _address(participant: Participant) -> str:
    return f"{participant.transport} {participant.address}".strip()
