"""Whom a command asks: the options that every command with DNS questions takes.

A command declares the four parameters by these names and types, and opens what they stand for::

    def command(
        resolver: ResolverOption = None,
        dot: DotOption = False,
        doh: DohOption = None,
        resolver_ca: ResolverCaOption = None,
        validate: ValidateOption = False,
        trust_anchor: TrustAnchorOption = None,
    ) -> int:
        options = ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor)

    async with options.open() as dns:
        outcome = await Locator(dns=dns).explain(uri)
"""

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from natkit.address import Address
from natkit.errors import ConfigError, MalformedMessage, MisuseError
from natkit.sip.grammar import excerpt, read_host
from sipdns.nameservers import Nameservers
from sipdns.query import QueryLimits
from sipdns.servers import DOT_PORT, HttpsServer, Server, TlsServer
from sipdns.system import DNS_PORT, system_nameservers
from sipdns.trust_anchors import ROOT_ANCHORS, Anchors, read_anchors
from sipdns.validating import ValidatingNameservers

__all__ = [
    "DohOption",
    "DotOption",
    "ResolverCaOption",
    "ResolverOption",
    "ResolverOptions",
    "TrustAnchorOption",
    "ValidateOption",
]

ResolverOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ADDRESS[:PORT]",
        help="A nameserver to ask instead of the system's; may be given again.  With --dot, #NAME "
        "may follow: the name that its certificate carries.",
    ),
]
DotOption = Annotated[
    bool, typer.Option("--dot", help=f"Ask over TLS, on port {DOT_PORT} unless one is given.")
]
DohOption = Annotated[
    list[str] | None,
    typer.Option(metavar="URL", help="Ask over HTTPS, by POST to this URL; may be given again."),
]
ResolverCaOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The CA (PEM) of resolvers' certificates, instead of the system's."
    ),
]
ValidateOption = Annotated[
    bool,
    typer.Option("--validate", help="Check DNSSEC here, rather than believe a trusted resolver."),
]
TrustAnchorOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="DS or DNSKEY records to trust with --validate, not the root's."
    ),
]


@dataclass(frozen=True, slots=True)
class ResolverOptions:
    """The options as given; ConfigError and MisuseError where they make no sense."""

    resolver: Sequence[str] | None = None
    dot: bool = False
    doh: Sequence[str] | None = None
    resolver_ca: Path | None = None
    validate: bool = False
    trust_anchor: Path | None = None

    def servers(self) -> list[Server]:
        """Whom to ask, in order; those of --resolver before those of --doh."""
        found: list[Server] = [self._server(text) for text in self.resolver or ()]
        found += [_https_server(text) for text in self.doh or ()]
        if found and self.dot and not self.resolver:
            raise MisuseError("--dot is for servers of --resolver; --doh has TLS anyway")
        if not found:
            own = system_nameservers()
            return [TlsServer(Address(one.host, DOT_PORT)) for one in own] if self.dot else [*own]
        return found

    def open(self, limits: QueryLimits | None = None) -> Nameservers | ValidatingNameservers:
        """Who asks for the command; to be closed (``async with``)."""
        if self.trust_anchor is not None and not self.validate:
            raise MisuseError("--trust-anchor has a meaning with --validate only")
        nameservers = Nameservers(self.servers(), limits, tls=self._trust())
        if not self.validate:
            return nameservers
        # Signatures hold by the calendar, questions by the monotonic clock.
        return ValidatingNameservers(nameservers, anchors=self._anchors(), clock=time.time)

    def _server(self, text: str) -> Server:
        if not self.dot:
            if "#" in text:
                raise MisuseError(f"--resolver {excerpt(text)}: a name is for --dot only")
            return _address(text, DNS_PORT)
        address, mark, name = text.partition("#")
        if mark:
            try:
                read_host(name)
            except MalformedMessage as error:
                raise MisuseError(f"--resolver {excerpt(text)}: {error}") from error
        return TlsServer(_address(address, DOT_PORT), name or None)

    def _trust(self) -> ssl.SSLContext | None:
        if self.resolver_ca is None:
            return None
        try:
            return ssl.create_default_context(cafile=str(self.resolver_ca))
        except (OSError, ssl.SSLError) as error:
            reason = "no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(f"--resolver-ca {self.resolver_ca}: {reason}") from error

    def _anchors(self) -> Anchors:
        if self.trust_anchor is None:
            return ROOT_ANCHORS
        try:
            text = self.trust_anchor.read_text(encoding="ascii")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"--trust-anchor {self.trust_anchor}: {reason}") from error
        return read_anchors(text, f"--trust-anchor {self.trust_anchor}")


def _address(text: str, port: int) -> Address:
    try:
        return Address.parse(text, port)
    except MisuseError as error:
        raise MisuseError(f"--resolver: {error}; write ADDRESS or ADDRESS:PORT") from error


def _https_server(text: str) -> HttpsServer:
    # Here, so that who asks by other ways loads no HTTP client.
    import httpx2  # noqa: PLC0415

    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise MisuseError(f"--doh {excerpt(text)} is no URL: {error}") from error
    if url.scheme != "https" or not url.host:
        raise MisuseError(f"--doh {excerpt(text)} is not a URL that begins with https://")
    return HttpsServer(text)
