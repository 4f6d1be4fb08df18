"""NAT behaviour discovery as coturn's clients and RFC 3489's own client see it.

What they print says which of their tests were answered; loopback has no NAT, so each must be.
"""

import socket
from collections.abc import Iterator

import pytest

from natkit.address import Address
from tests.peering.turnutils import run_program
from tests.stun_server.process import StunServerProcess, stun_server

CONFIG = """
[listeners]
listen = ["127.0.0.1:0"]
alternate = { "127.0.0.1:0" = "127.0.0.2:0" }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Our server on two loopback addresses; a listener that has another one."""
    directory = tmp_path_factory.mktemp("stun-server")
    config = directory / "config.toml"
    config.write_text(CONFIG)
    # --listen would be added otherwise; it names what the configuration names.
    listen = ("--listen", "127.0.0.1:0")
    with stun_server(directory, "--config", str(config), *listen) as running:
        yield _listener_with_another(running)


def _listener_with_another(running: StunServerProcess) -> Address:
    listening = running.lines("listening")
    crosswise = [line for line in listening if "other" in line and line["transport"] == "udp"]
    assert len(crosswise) == 4
    assert len({str(line["other"]) for line in crosswise}) == 4
    return Address.parse(str(crosswise[0]["address"]))


def _natdiscovery(server: Address, *arguments: str) -> str:
    command = (*arguments, "-p", str(server.port), server.host)
    status, output = run_program("turnutils_natdiscovery", *command)
    assert status == 0, output
    assert "timeout" not in output, output
    return output


@pytest.mark.peer("coturn")
def test_stunclient_is_answered_from_the_other_address_and_to_another_port(
    server: Address,
) -> None:
    status, output = run_program("turnutils_stunclient", "-f", "-p", str(server.port), server.host)
    assert status == 0, output
    # Plain, CHANGE-REQUEST with RESPONSE-ORIGIN elsewhere, and RESPONSE-PORT.
    assert output.count("RFC 5780 response") == 3, output
    origins = [line.split()[-1] for line in output.splitlines() if "Response origin" in line]
    assert str(server) in origins
    assert any(Address.parse(origin).host != server.host for origin in origins), output


@pytest.mark.peer("coturn")
@pytest.mark.parametrize("padding", [(), ("-P",)])
def test_natdiscovery_finds_mapping_and_filtering_independent_of_the_endpoint(
    server: Address, padding: tuple[str, ...]
) -> None:
    output = _natdiscovery(server, "-m", "-f", *padding)
    assert "Endpoint Independent Mapping!" in output
    assert "Endpoint Independent Filtering!" in output


@pytest.mark.peer("coturn")
def test_natdiscovery_hairpins(server: Address) -> None:
    output = _natdiscovery(server, "-H", "-L", "127.0.0.1")
    assert "successful hairpinning" in output


@pytest.mark.peer("coturn")
def test_natdiscovery_measures_the_lifetime_by_response_port(server: Address) -> None:
    output = _natdiscovery(server, "-t", "-T", "1")
    assert output.count("RFC 5780 response") == 2


@pytest.mark.peer("coturn")
def test_natdiscovery_asks_from_two_hosts_with_one_port(server: Address) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    output = _natdiscovery(server, "-c", "-L", "127.0.0.1", "-l", str(port), "-A", "127.0.0.3")
    assert f"reflexive addr: 127.0.0.1:{port}" in output
    assert f"reflexive addr: 127.0.0.3:{port}" in output


@pytest.mark.peer("stun-client")
def test_a_client_of_rfc_3489_learns_all_four_addresses(server: Address) -> None:
    status, output = run_program("stun", str(server), "-v", "1")
    assert status == 0, output
    assert "MappedAddress = 127.0.0.1:" in output
    assert f"SourceAddress = {server}" in output
    assert "ChangedAddress = 127.0.0.2:" in output


@pytest.mark.peer("stun-client")
def test_a_client_of_rfc_3489_finds_that_nothing_stands_between(server: Address) -> None:
    """Its whole decision tree (RFC 3489 §10.1); 1 is its status for an open network."""
    status, output = run_program("stun", str(server))
    assert "Primary: Open" in output, output
    assert status == 1
