"""The users of the configuration, as the keys that the machine asks for."""

from collections.abc import Iterable

from natkit.errors import ConfigError, MisuseError
from natkit.stun.credentials import long_term_key, opaque_string, user_hash
from natkit.stun.registry import PasswordAlgorithmNumber
from stun_server.authentication import Credential
from stun_server.events import FindCredential

__all__ = ["Users"]


class Users:
    """Credentials by name and by USERHASH; passwords are not kept."""

    def __init__(self, realm: str, passwords: Iterable[tuple[str, str]]) -> None:
        self._by_name: dict[str, Credential] = {}
        self._by_hash: dict[bytes, Credential] = {}
        for name, password in passwords:
            try:
                # Clients send the name as OpaqueString prepares it (RFC 8489 §14.3).
                prepared = opaque_string(name)
                credential = Credential(
                    prepared,
                    long_term_key(name, realm, password, PasswordAlgorithmNumber.MD5),
                    long_term_key(name, realm, password, PasswordAlgorithmNumber.SHA_256),
                )
            except MisuseError as error:
                raise ConfigError(f"user {name!r}: {error}") from error
            self._by_name[prepared] = credential
            self._by_hash[user_hash(prepared, realm)] = credential

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, request: FindCredential) -> Credential | None:
        """Whom a request is from, if there is such a user."""
        if request.username is not None:
            return self._by_name.get(request.username)
        return self._by_hash.get(request.userhash or b"")
