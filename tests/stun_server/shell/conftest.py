"""Shells' tests run on asyncio's loop and on uvloop."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from natkit.server import log


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Each asynchronous test twice."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _keep_level() -> Iterator[None]:
    """A level that a test sets is not the next one's."""
    level = log._threshold.level
    yield
    log._threshold.level = level
