"""What every test shares: sizes, seeds, and the peers.

Two sizes of one test
    ``sized(quick=2_000, full=1_000_000)`` is a fixture that gives the first number in ``make test``
    and the second, times ``SOAK_SCALE``, in ``make soak`` (``SOAK=1``).  A test that asks for it is
    part of both.  A test that carries ``@pytest.mark.soak`` is part of ``make soak`` only.

Seeds
    Tests seed their own generators and print the seed.  Hypothesis draws the same examples each
    time when ``CI=true``; elsewhere it explores, and prints how to repeat what failed.

Older kernels
    What the relay plane does at tc is a test, with the marker ``tc``, where Linux can have it
    there, from 6.6 on.  What it does instead is a test everywhere.

State
    A server that is not told where to keep its state does so in a directory of this run's, and not
    in that of whoever runs the tests.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from typing import Protocol

import hypothesis
import pytest

from natkit.server import log
from tests.natkit.relay.kernel_modes import HAS_TC

pytest_plugins = ["tests.peering.plugin"]

SOAKING = os.environ.get("SOAK") == "1"
SOAK_SCALE = float(os.environ.get("SOAK_SCALE", "1"))
SOAK_EXAMPLES = 20_000
"""Hypothesis examples of each property in ``make soak``."""

hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile(
    "soak",
    deadline=None,
    print_blob=True,
    max_examples=max(1, int(SOAK_EXAMPLES * SOAK_SCALE)),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
PROFILE = "soak" if SOAKING else "ci" if os.environ.get("CI", "").lower() == "true" else "explore"
hypothesis.settings.load_profile(PROFILE)


class Sized(Protocol):
    """Type of the ``sized`` fixture."""

    def __call__(self, *, quick: int, full: int) -> int:
        """``quick`` in ``make test``, ``full`` times ``SOAK_SCALE``, or more, in ``make soak``."""
        ...


@pytest.fixture(autouse=True)
def _keep_level() -> Iterator[None]:
    """A level of the servers' logs that a test sets is not the next one's."""
    root = logging.getLogger()
    level, threshold = root.level, log.level_now()
    yield
    root.setLevel(level)
    log._threshold.level = threshold


@pytest.fixture(scope="session")
def sized() -> Sized:
    """Choose between the two sizes of a test."""

    def choose(*, quick: int, full: int) -> int:
        return max(quick, int(full * SOAK_SCALE)) if SOAKING else quick

    return choose


def pytest_configure(config: pytest.Config) -> None:
    """Give servers a place for their state: each of the processes that run tests has its own."""
    state = tempfile.TemporaryDirectory(prefix="natkit-tests-")
    config.add_cleanup(state.cleanup)
    os.environ["XDG_STATE_HOME"] = state.name
    os.environ.pop("STATE_DIRECTORY", None)


def pytest_report_header() -> list[str]:
    """Say which sizes and seeds are used."""
    size = f"full, times {SOAK_SCALE:g}" if SOAKING else "quick"
    drawn = "the same examples each time" if PROFILE == "ci" else "new examples"
    return [f"sizes: {size}; hypothesis profile: {PROFILE} ({drawn})"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of ``make soak`` elsewhere, and those of a hook that the kernel lacks.

    The sized ones are marked as part of ``make soak``.
    """
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        names = {marker.name for marker in item.iter_markers()}
        if ("soak" in names and not SOAKING) or ("tc" in names and not HAS_TC):
            left_out.append(item)
            continue
        if isinstance(item, pytest.Function) and "sized" in item.fixturenames:
            item.add_marker("soak")
        kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
