"""What a registrar has promised it keeps, whenever it is killed, with the file that is default."""

from pathlib import Path

from tests.sip_proxy.process import SipProxyProcess, sip_proxy
from tests.sip_proxy.registering import lost, registering

ANYBODY = "[users]\nauthenticate = false\n"


async def test_a_proxy_that_is_killed_under_load_has_kept_all_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    with sip_proxy(tmp_path / "proxy", ANYBODY) as proxy:
        async with registering(proxy.address) as load:
            await load.more(200)
            proxy.kill()
        acknowledged = list(load.acknowledged)
        proxy.start()
        assert await lost(proxy.address, acknowledged) == []
        assert await lost(proxy.address, ["nobody"]) == ["nobody"]
        assert proxy.stop() == 0


async def test_a_disk_that_is_full_refuses_registrations_and_loses_none(tmp_path: Path) -> None:
    """No file may grow beyond 256 KiB, as on a disk without room."""
    with sip_proxy(tmp_path / "proxy", ANYBODY, ["prlimit", f"--fsize={256 << 10}"]) as proxy:
        async with registering(proxy.address) as load:
            await load.answered(500)
        acknowledged = list(load.acknowledged)
        assert len(acknowledged) > 20
        # What is there is still served.
        assert await lost(proxy.address, acknowledged) == []
        proxy.kill()
        proxy.prefix = ()
        proxy.start()
        assert await lost(proxy.address, acknowledged) == []
        async with registering(proxy.address, "later") as load:
            await load.more(20)
        assert load.statuses == {200}


def test_registrations_that_cannot_be_read_are_named_before_anything_is_served(
    tmp_path: Path,
) -> None:
    (tmp_path / "proxy").mkdir()
    file = tmp_path / "proxy" / "bindings.sqlite3"
    file.write_text("This is no database, and long enough to be taken for a damaged one." * 20)
    proxy = SipProxyProcess(tmp_path / "proxy", ANYBODY)
    proxy.begin()
    try:
        assert proxy.ended() == 2
    finally:
        proxy.kill()
    (line,) = [line for line in proxy.log.splitlines() if line.startswith("error:")]
    assert f"{file}: file is not a database; restore it, or remove it" in line
    assert "Traceback" not in proxy.log
