"""Listeners are bound all or none, to exact addresses."""

import os
import socket
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.aio.tcp import bind_tcp
from natkit.errors import ConfigError, MisuseError
from natkit.machine import Transport
from natkit.net.interfaces import expand_wildcard
from stun_server.shell import listening
from stun_server.shell.listening import ListenAddress, Listener, everywhere, open_listeners
from stun_server.shell.port_holder import port_holder


def opened(*texts: str) -> list[tuple[Transport, Address]]:
    listeners = open_listeners([ListenAddress.parse(text) for text in texts])
    close(listeners)
    return [(each.transport, each.address) for each in listeners]


def close(listeners: tuple[Listener, ...]) -> None:
    for each in listeners:
        each.socket.close()


@pytest.mark.parametrize(
    ("text", "transports", "address"),
    [
        ("127.0.0.1:3478", "udp tcp", Address("127.0.0.1", 3478)),
        ("udp:127.0.0.1:3478", "udp", Address("127.0.0.1", 3478)),
        ("tcp:[::1]:0", "tcp", Address("::1", 0)),
        ("[2001:DB8::1]:9", "udp tcp", Address("2001:db8::1", 9)),
        ("tls:127.0.0.1:5349", "tls", Address("127.0.0.1", 5349)),
        ("dtls:[::1]:5349", "dtls", Address("::1", 5349)),
    ],
)
def test_the_forms_of_an_address(text: str, transports: str, address: Address) -> None:
    parsed = ListenAddress.parse(text)
    assert (" ".join(parsed.transports), parsed.address) == (transports, address)
    assert ListenAddress.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text", ["", "x", "127.0.0.1", "::1", "udp:", "tls:", "sctp:127.0.0.1:1", "[::1]:x"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(MisuseError):
        ListenAddress.parse(text)


def test_port_0_is_the_same_free_port_for_each_transport() -> None:
    (udp, one), (tcp, two) = opened("127.0.0.1:0")
    assert (udp, tcp) == (Transport.UDP, Transport.TCP)
    assert one == two
    assert one.port


def test_a_wildcard_is_every_local_address() -> None:
    bound = opened("udp:0.0.0.0:0")
    assert {address.host for _, address in bound} == {
        each.host for each in expand_wildcard(Address("0.0.0.0", 0))
    }


def test_a_port_that_the_system_chose_for_udp_but_tcp_lacks_is_chosen_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = bind_tcp
    refused: list[socket.socket] = []

    def refuse_twice(local: Address, *, listen: bool) -> socket.socket:
        if len(refused) < 2:
            refused.append(real(local, listen=True))
        return real(local, listen=listen)

    monkeypatch.setattr(listening, "bind_tcp", refuse_twice)
    (_, one), (_, two) = opened("127.0.0.1:0")
    assert one == two
    assert one.port not in {each.getsockname()[1] for each in refused}
    for each in refused:
        each.close()


def test_no_free_port_for_both_is_told_after_a_bounded_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, tried = bind_tcp, 0

    def refuse(local: Address, *, listen: bool) -> socket.socket:
        nonlocal tried
        tried += 1
        with real(local, listen=True):
            return real(local, listen=listen)

    monkeypatch.setattr(listening, "bind_tcp", refuse)
    with pytest.raises(ConfigError, match="is in use"):
        opened("127.0.0.1:0")
    assert 1 < tried <= 16


def test_one_that_cannot_be_had_gives_up_the_others() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = Address(*holder.getsockname())
        with pytest.raises(ConfigError, match=rf"^TCP {taken} is in use"):
            opened("127.0.0.1:0", str(taken))
        # What was bound before it is free again.
        assert opened(f"udp:{taken}") == [(Transport.UDP, taken)]


def test_a_port_that_another_reuses_but_does_not_listen_on_yet_is_ours() -> None:
    with bind_tcp(Address("127.0.0.1", 0)) as sleeper:
        address = Address(*sleeper.getsockname())
        listeners = open_listeners([ListenAddress.parse(f"tcp:{address}")])
        with pytest.raises(OSError, match="in use"):
            sleeper.listen()
        close(listeners)


def test_a_family_that_the_machine_has_no_address_of_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "expand_wildcard", lambda _: ())
    with pytest.raises(ConfigError, match=r"cannot listen on \[::\]:1: this machine has no such"):
        opened("[::]:1")


def test_by_default_families_that_the_machine_lacks_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert {str(each) for each in everywhere()} <= {"0.0.0.0:3478", "[::]:3478"}

    def without_ipv6(address: Address) -> tuple[Address, ...]:
        return () if address.host == "::" else expand_wildcard(address)

    monkeypatch.setattr(listening, "expand_wildcard", without_ipv6)
    assert [str(each) for each in everywhere()] == ["0.0.0.0:3478"]


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_the_holder_of_a_port_is_named(transport: Transport, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_DGRAM if transport is Transport.UDP else socket.SOCK_STREAM
    with socket.socket(family, kind) as holder:
        holder.bind((host, 0))
        if transport is Transport.TCP:
            holder.listen()
        port = holder.getsockname()[1]
        name = Path("/proc/self/comm").read_text().strip()
        own = f"{name} (process {os.getpid()})"
        assert port_holder(transport, Address("127.0.0.1", port)) == own
    assert port_holder(transport, Address("127.0.0.1", port)) is None


def crosswise(*texts: str, alternate: tuple[str, str]) -> list[Listener]:
    """Open and close listeners, of which one has an alternate."""
    primary, other = ListenAddress.parse(alternate[0]), Address.parse(alternate[1])
    listeners = open_listeners(
        [ListenAddress.parse(text) for text in texts], alternates={primary: other}
    )
    close(listeners)
    return list(listeners)


def test_an_alternate_makes_four_listeners_that_know_each_other() -> None:
    listeners = crosswise(alternate=("127.0.0.1:0", "127.0.0.2:0"))
    assert len(listeners) == 8
    for transport in (Transport.UDP, Transport.TCP):
        others = {each.address: each.other for each in listeners if each.transport is transport}
        assert {address.host for address in others} == {"127.0.0.1", "127.0.0.2"}
        assert len({address.port for address in others}) == 2
        for address, other in others.items():
            assert other is not None
            assert others[other] == address
            assert address.host != other.host
            assert address.port != other.port


def test_an_alternate_takes_part_in_what_listens_already() -> None:
    (free,) = {address.port for _, address in opened("127.0.0.1:0")}
    at = f"127.0.0.1:{free}"
    listeners = crosswise(at, "udp:127.0.0.3:0", alternate=(f"udp:{at}", "127.0.0.2:0"))
    others = {(each.transport, each.address): each.other for each in listeners}
    assert len(others) == len(listeners) == 6
    assert others[Transport.TCP, Address("127.0.0.1", free)] is None
    assert others[Transport.UDP, Address("127.0.0.1", free)] is not None
    assert sum(other is not None for other in others.values()) == 4
