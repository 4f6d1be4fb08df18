"""How the handlers answer: JSON with its schema's number, and what a request may hold."""

import json
from collections.abc import Mapping

from aiohttp import web

__all__ = ["SCHEMA", "body", "json_answer", "limit_of"]

_MOST_DIGITS = 9

SCHEMA = 1
"""The value of ``"schema"`` in every object."""


def json_answer(content: Mapping[str, object], status: int = 200) -> web.Response:
    """One object."""
    return web.json_response({"schema": SCHEMA, **content}, status=status)


async def body(request: web.Request) -> Mapping[str, object]:
    """The object that was sent; 400 for anything else, and 413 for too much of it."""
    text = await request.text()
    try:
        content: object = json.loads(text or "{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise web.HTTPBadRequest(reason="the body is no JSON object")
    return content


def limit_of(request: web.Request, default: int, most: int) -> int:
    """How much is asked for by ``?limit=N``; 400 for what is no number from 1 to ``most``."""
    text = request.query.get("limit", str(default))
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    if not (is_number and 1 <= int(text) <= most):
        raise web.HTTPBadRequest(reason=f"limit is a number from 1 to {most}")
    return int(text)
