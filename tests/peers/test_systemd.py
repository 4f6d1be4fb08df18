"""systemd reads the packaged unit."""

import subprocess

import pytest

from tests.project.tree import ROOT

UNIT = ROOT / "packaging" / "stun-server.service"

pytestmark = pytest.mark.peer("systemd")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_every_word_of_the_unit_is_one_that_systemd_knows() -> None:
    verified = analyze("verify", str(UNIT))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_a_word_that_it_does_not_know_is_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    wrong = tmp_path_factory.mktemp("unit") / "stun-server.service"
    wrong.write_text(UNIT.read_text().replace("PrivateTmp=yes", "PrivateTemp=yes"))
    assert "PrivateTemp" in analyze("verify", str(wrong)).stderr


def test_the_service_is_exposed_to_little() -> None:
    # 10 is a unit that says nothing, 2 the level of systemd's own services.
    assert analyze("security", "--offline=true", "--threshold=20", str(UNIT)).returncode == 0
