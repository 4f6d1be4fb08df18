"""The fixtures of the peers, and the rules for tests that are marked with one or are skipped."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from natkit.address import Address
from tests.certificates import Issued
from tests.peering import bind9, coturn, kamailio, roster, unbound
from tests.peering.process import PeerProcess

LOG_TAIL = 20_000
"""Characters of a peer's output that the report of a failure shows."""
_started = pytest.StashKey[list[PeerProcess]]()


class StartCoturn(Protocol):
    """Type of the ``start_coturn`` fixture."""

    def __call__(self, *extra_arguments: str, host: str = "127.0.0.1") -> coturn.Coturn:
        """Start turnserver with these flags added; it is stopped when the test ends."""
        ...


class StartNamed(Protocol):
    """Type of the ``start_named`` fixture."""

    def __call__(
        self,
        zones: Mapping[str, str],
        options: str = "",
        statements: str = "",
        served: Sequence[str] = (),
    ) -> Address:
        """Start named with these zones; it is stopped when the test ends."""
        ...


class StartKamailio(Protocol):
    """Type of the ``start_kamailio`` fixture."""

    def __call__(
        self,
        certificate: Issued,
        *,
        status: int = 200,
        reason: str = "Alive",
        script: str = kamailio.ANSWERING,
    ) -> kamailio.Kamailio:
        """Start Kamailio, which answers OPTIONS with ``status``; it is stopped in the end."""
        ...


class StartUnbound(Protocol):
    """Type of the ``start_unbound`` fixture."""

    def __call__(self, upstream: Address, anchor: str, certificate: Issued) -> unbound.Unbound:
        """Start unbound, which validates what ``upstream`` says; it is stopped with the test."""
        ...


class _Keeper:
    """Gives each peer a directory, and stops all in the end, the last one first."""

    def __init__(self, node: pytest.Item, base: Path) -> None:
        self._base = base
        self._running: list[PeerProcess] = node.stash.setdefault(_started, [])

    def directory(self, name: str) -> Path:
        directory = self._base / f"{name}{len(self._running)}"
        directory.mkdir()
        return directory

    def keep(self, process: PeerProcess) -> None:
        self._running.append(process)

    def stop(self) -> None:
        for process in reversed(self._running):
            process.stop()


@pytest.fixture
def peer_processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Keeper]:
    """Keeps what the other fixtures of this module start."""
    assert isinstance(request.node, pytest.Item)
    keeper = _Keeper(request.node, tmp_path)
    yield keeper
    keeper.stop()


@pytest.fixture
def start_coturn(peer_processes: _Keeper) -> StartCoturn:
    """Start coturn with flags of the test's own."""

    def start(*extra_arguments: str, host: str = "127.0.0.1") -> coturn.Coturn:
        server = coturn.start(peer_processes.directory("coturn"), *extra_arguments, host=host)
        peer_processes.keep(server.process)
        return server

    return start


@pytest.fixture(name="coturn")
def running_coturn(start_coturn: StartCoturn) -> coturn.Coturn:
    """A running coturn."""
    return start_coturn()


@pytest.fixture
def start_named(peer_processes: _Keeper) -> StartNamed:
    """Start BIND 9 with zones of the test's own."""

    def start(
        zones: Mapping[str, str],
        options: str = "",
        statements: str = "",
        served: Sequence[str] = (),
    ) -> Address:
        directory = peer_processes.directory("named")
        address, process = bind9.start(directory, zones, options, statements, served)
        peer_processes.keep(process)
        return address

    return start


@pytest.fixture
def start_kamailio(peer_processes: _Keeper) -> StartKamailio:
    """Start Kamailio with a certificate of the test's own."""

    def start(
        certificate: Issued,
        *,
        status: int = 200,
        reason: str = "Alive",
        script: str = kamailio.ANSWERING,
    ) -> kamailio.Kamailio:
        directory = peer_processes.directory("kamailio")
        server = kamailio.start(directory, certificate, status=status, reason=reason, script=script)
        peer_processes.keep(server.process)
        return server

    return start


@pytest.fixture
def start_unbound(peer_processes: _Keeper) -> StartUnbound:
    """Start unbound as a validating resolver."""

    def start(upstream: Address, anchor: str, certificate: Issued) -> unbound.Unbound:
        directory = peer_processes.directory("unbound")
        server = unbound.start(directory, upstream, anchor, certificate)
        peer_processes.keep(server.process)
        return server

    return start


def in_ci() -> bool:
    """Whether a missing peer is a failure."""
    return os.environ.get("CI", "").lower() == "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A marker must name a peer of the roster."""
    for item in items:
        for name in _peers_of(item):
            if name not in roster.peers():
                raise pytest.UsageError(f"{item.nodeid}: tests/peers.toml has no peer {name!r}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose peer is missing, or fail it in CI."""
    faults = [fault for name in _peers_of(item) if (fault := roster.fault(name)) is not None]
    if faults and in_ci():
        pytest.fail("; ".join(faults), pytrace=False)
    if faults:
        pytest.skip("; ".join(faults))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the output of the peers of a failed test; in CI nothing is skipped."""
    report = yield
    if in_ci() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, with CI=true: {report.longrepr}"
    if report.failed:
        for process in item.stash.get(_started, []):
            report.sections.append((f"output of {process.name}", process.log()[-LOG_TAIL:]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what is missing, once."""
    missing = {
        fault
        for report in terminalreporter.getreports("skipped")
        for name in roster.peers()
        if (fault := roster.fault(name)) is not None and fault in str(report.longrepr)
    }
    for fault in sorted(missing):
        terminalreporter.write_line(f"peer tests skipped: {fault}", yellow=True)


def _peers_of(item: pytest.Item) -> list[str]:
    return [str(name) for marker in item.iter_markers("peer") for name in marker.args]
