"""Bindings as text, for stores: a JSON array for each address of record."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import Path, Transport
from sip_proxy.location.binding import Binding

__all__ = ["from_text", "to_text"]

# One for all: json.dumps makes another each time where the separators are not its own.
_written: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def to_text(bindings: Sequence[Binding]) -> str:
    """What :func:`from_text` reads; fields that say nothing are left out."""
    return _written([_described(binding) for binding in bindings])


def from_text(text: str) -> tuple[Binding, ...]:
    """Read bindings; MalformedMessage for what :func:`to_text` did not write."""
    try:
        return tuple([_read(each) for each in json.loads(text)])
    except (ValueError, KeyError, TypeError, AttributeError, MisuseError) as error:
        raise MalformedMessage(f"these are no bindings: {error}") from error


def _described(binding: Binding) -> dict[str, object]:
    described: dict[str, object] = {
        "contact": binding.contact,
        "expires_at": binding.expires_at,
        "q": binding.q,
        "call_id": binding.call_id,
        "cseq": binding.cseq,
        "updated_at": binding.updated_at,
    }
    if binding.path:
        described["path"] = list(binding.path)
    if binding.flow is not None:
        transport, local, remote = binding.flow
        described["flow"] = [transport.value, str(local), str(remote)]
    if binding.instance is not None:
        described["instance"] = binding.instance
    if binding.reg_id is not None:
        described["reg_id"] = binding.reg_id
    if binding.user_agent:
        described["user_agent"] = binding.user_agent
    if binding.since:
        described["since"] = binding.since
    return described


def _read(described: Mapping[str, object]) -> Binding:
    return Binding(
        _text(described["contact"]),
        _number(described["expires_at"]),
        int(_number(described["q"])),
        _text(described["call_id"]),
        int(_number(described["cseq"])),
        _number(described["updated_at"]),
        tuple([_text(each) for each in _list(described.get("path", []))]),
        _flow(described.get("flow")),
        None if "instance" not in described else _text(described["instance"]),
        None if "reg_id" not in described else int(_number(described["reg_id"])),
        _text(described.get("user_agent", "")),
        _number(described.get("since", 0.0)),
    )


def _flow(described: object) -> Path | None:
    if described is None:
        return None
    transport, local, remote = [_text(each) for each in _list(described)]
    return Path(Transport(transport), Address.parse(local), Address.parse(remote))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value
