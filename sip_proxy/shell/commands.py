"""``sip-proxy``: its options, and what they start."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from natkit.cli.entry import VersionOption, application
from natkit.errors import MisuseError
from natkit.server.certificates import CertificateFiles
from natkit.sip.grammar import domain_name
from sip_proxy.settings import Settings
from sip_proxy.shell.listening import SERVED, ListenAddress, open_listeners
from sip_proxy.shell.running import serve
from sip_proxy.shell.securing import Securing, TlsSettings
from sip_proxy.shell.stores import MemoryLocation, SqliteLocation
from sip_proxy.shell.streams import StreamSettings
from sip_proxy.shell.users import Users
from sipdns import Locator

__all__ = ["app"]

DATABASE: Final = "sip-proxy.sqlite"

app = application(
    "A SIP proxy and registrar.",
    example="sip-proxy --domain example.org --listen udp:127.0.0.1:5060 --user alice:secret",
)


@app.callback(invoke_without_command=True)
def main(
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="Be the proxy and registrar of it; repeatable."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[udp:|tcp:|tls:|ws:|wss:]ADDRESS:PORT",
            help="Serve there, by UDP and TCP without a prefix; repeatable. Default: 0.0.0.0:5060.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The certificate for TLS with those above it, in PEM."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's private key, in PEM.")
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:PASSWORD", help="A user, of every domain; repeatable."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the registrations there. Without it they end with the server.",
        ),
    ] = None,
    _version: VersionOption = False,  # noqa: FBT002 - a flag of typer's
) -> None:
    """Serve until SIGINT or SIGTERM."""
    if not domain:
        raise MisuseError("name the domain of the users: --domain example.org")
    domains = frozenset(map(domain_name, domain))
    wanted = [ListenAddress.parse(each) for each in listen or ["0.0.0.0:5060"]]
    users = _users(user or [], domains)
    streams = StreamSettings(_tls(certificate, key, wanted))
    bound = open_listeners(wanted)
    settings = Settings(tuple(each.listener for each in bound), domains)

    def announce() -> None:
        names = [f"{each.listener.transport}:{each.listener.address}" for each in bound]
        typer.echo(f"serving {', '.join(sorted(domains))} on {', '.join(names)}")

    location = MemoryLocation() if data_dir is None else SqliteLocation(data_dir / DATABASE)
    listened = {each.listener.transport for each in bound}
    locator = Locator(transports=[each for each in SERVED if each in listened])
    asyncio.run(serve(settings, bound, users, locator, location, announce, streams))


def _tls(
    certificate: Path | None, key: Path | None, wanted: Sequence[ListenAddress]
) -> TlsSettings:
    if certificate is None or key is None:
        if certificate is not None or key is not None:
            raise MisuseError("certificate and key go together (--certificate, --key)")
        secure = next((each for each in wanted if each.is_secure), None)
        if secure is not None:
            raise MisuseError(f"{secure} needs a certificate and its key (--certificate, --key)")
        return TlsSettings()
    settings = TlsSettings((CertificateFiles(certificate, key),))
    Securing(settings)  # a wrong file ends the command before anything is bound
    return settings


def _users(texts: list[str], domains: frozenset[str]) -> Users:
    passwords = {}
    for text in texts:
        name, colon, password = text.partition(":")
        if not (name and colon and password):
            raise MisuseError("--user takes NAME:PASSWORD")
        passwords[name] = password
    return Users.of_passwords(passwords, domains)
