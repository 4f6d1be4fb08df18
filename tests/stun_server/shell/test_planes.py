"""Which relay plane serves, as an operator sees it."""

import json
from pathlib import Path

import pytest

from natkit.cli.entry import run
from natkit.net.links import NetworkLink
from natkit.relay import kernel_ability
from natkit.relay.attaching import TOO_OLD_FOR_TC, Mode
from natkit.relay.kernel_ability import Foreseen, Requirement
from stun_server.shell import plane_command, planes
from stun_server.shell.commands import app

GOOD = Requirement("Linux 5.15", "Linux 6.1", is_met=True)
BAD = Requirement("CAP_BPF", "without CAP_BPF", is_met=False, remedy="run as root")
LOOPBACK = NetworkLink(1, "lo", bytes(6), False, "", 0, 0, is_loopback=True)
CABLE = NetworkLink(3, "veth0", bytes(6), True, "veth", 0, 0)
CARD = NetworkLink(2, "eth0", bytes(6), True, "", 0, 0)


def command(*arguments: str) -> int:
    return run(app, "stun-server", server=True, arguments=list(arguments))


def with_plane(tmp_path: Path, plane: str) -> tuple[str, str]:
    config = tmp_path / "server.toml"
    config.write_text(f"[listeners]\nlisten = ['127.0.0.1:0']\nrelay_plane = '{plane}'\n")
    return "--config", str(config)


@pytest.fixture(name="here")
def system(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One that has all that is needed."""
    for module in (plane_command, planes):
        monkeypatch.setattr(module, "requirements", lambda: (GOOD,))
    monkeypatch.setattr(planes, "links_for", lambda *_: (CARD,))
    monkeypatch.setattr(kernel_ability, "runs_xdp", lambda _: True)
    return monkeypatch


@pytest.mark.parametrize(
    ("asked", "requirement", "used", "conclusion"),
    [
        ("auto", GOOD, "kernel", "relay_plane = 'auto': the kernel relays"),
        (
            "auto",
            BAD,
            "userspace",
            "relay_plane = 'auto': user space relays (CAP_BPF: without CAP_BPF)",
        ),
        ("kernel", GOOD, "kernel", "relay_plane = 'kernel': the kernel relays"),
        (
            "kernel",
            BAD,
            None,
            "relay_plane = 'kernel': the server does not start (CAP_BPF: without CAP_BPF)",
        ),
        (
            "userspace",
            GOOD,
            "userspace",
            "relay_plane = 'userspace': as asked for; the kernel could relay here",
        ),
        (
            "userspace",
            BAD,
            "userspace",
            "relay_plane = 'userspace': as asked for; the kernel could not relay here",
        ),
    ],
)
def test_the_command_says_what_would_relay_and_why(
    here: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    asked: str,
    requirement: Requirement,
    used: str | None,
    conclusion: str,
) -> None:
    here.setattr(plane_command, "requirements", lambda: (requirement,))
    config = with_plane(tmp_path, asked)
    assert command("plane", *config) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == conclusion
    assert "eth0 card native: XDP in its driver" in " ".join(shown.split())
    assert ("run as root" in shown) == (requirement is BAD)
    assert command("plane", *config, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["asked"], told["plane"]) == (1, asked, used)
    assert told["requirements"][0]["met"] == requirement.is_met
    assert told["interfaces"] == [{"name": "eth0", "kind": "", "mode": "native", "reasons": []}]


def test_the_command_says_for_each_interface_how_and_why_in_no_better_way(
    here: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = (CARD, CABLE, LOOPBACK)
    reasons = ("its driver runs no programs of XDP", TOO_OLD_FOR_TC)
    ways = {
        CARD: Foreseen(CARD, Mode.GENERIC, reasons),
        CABLE: Foreseen(CABLE, Mode.TC, ()),
        LOOPBACK: Foreseen(LOOPBACK, None, reasons[1:]),
    }
    here.setattr(planes, "links_for", lambda *_: links)
    here.setattr(plane_command, "foresee", lambda link, _: ways[link])
    config = with_plane(tmp_path, "kernel")
    assert command("plane", *config) == 0
    assert " ".join(capsys.readouterr().out.split()) == (
        "needed here Linux 5.15 Linux 6.1 interface kind way "
        "eth0 card generic: XDP after its driver (its driver runs no programs of XDP; tc takes "
        "no such program before Linux 6.6) "
        "veth0 veth tc: as packets come in "
        "lo loopback in user space (tc takes no such program before Linux 6.6) "
        "relay_plane = 'kernel': the kernel relays"
    )
    assert command("plane", *config, "--json") == 0
    told = json.loads(capsys.readouterr().out)["interfaces"]
    assert [(each["kind"], each["mode"]) for each in told] == [
        ("", "generic"),
        ("veth", "tc"),
        ("loopback", None),
    ]
    assert told[0]["reasons"] == list(reasons)
    # The server serves elsewhere, too; where loopback is all there is, or a card has no way, no.
    ways[CARD] = Foreseen(CARD, None, reasons)
    for some in ((LOOPBACK,), (CABLE, CARD)):
        here.setattr(planes, "links_for", lambda *_, some=some: some)
        assert command("plane", *config) == 0
        assert "the server does not start" in capsys.readouterr().out


def test_loopback_is_served_by_the_kernel_only_where_that_is_asked_for_by_name(
    here: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here.undo()
    here.setattr(plane_command, "requirements", lambda: (GOOD,))
    here.setattr(kernel_ability, "_is_since", lambda _: True)
    assert command("plane", *with_plane(tmp_path, "auto")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "relay_plane = 'auto': user space relays (the addresses that serve are on loopback, where "
        "the kernel relays only when asked to)"
    )
    assert command("plane", *with_plane(tmp_path, "kernel")) == 0
    out = capsys.readouterr().out
    assert "lo loopback tc: as packets come in" in " ".join(out.split())
    assert out.splitlines()[-1] == "relay_plane = 'kernel': the kernel relays"


def test_the_version_names_the_planes_that_can_be_here(
    here: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--version") == 0
    assert capsys.readouterr().out.endswith("; relay planes: userspace, kernel\n")
    here.setattr(planes, "requirements", lambda: (BAD,))
    assert command("--version") == 0
    assert capsys.readouterr().out.endswith(
        "; relay planes: userspace, not kernel: it needs CAP_BPF, here is without CAP_BPF; "
        "run as root\n"
    )


def test_a_plane_that_cannot_be_is_one_line_and_status_2(
    here: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here.setattr(planes, "requirements", lambda: (GOOD, BAD))
    assert command(*with_plane(tmp_path, "kernel"), "--check-config") == 2
    assert capsys.readouterr().err == (
        "error: relay plane 'kernel': it needs CAP_BPF, here is without CAP_BPF; run as root "
        "(`stun-server plane` says more); or choose --relay-plane userspace or auto\n"
    )
    here.setattr(planes, "requirements", lambda: (GOOD,))
    assert command(*with_plane(tmp_path, "kernel"), "--check-config") == 0
    here.setattr(planes, "links_for", lambda *_: ())
    assert command(*with_plane(tmp_path, "kernel"), "--check-config") == 2
    assert "the addresses that serve are on no Ethernet interface" in capsys.readouterr().err
