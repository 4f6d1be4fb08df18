"""What of a configuration that is read again counts at once."""

__all__ = ["counts_at_once"]

# What of these tables counts at once; all else of them is decided when the process starts.
_AT_ONCE = {
    "listeners": {
        "certificate",
        "key",
        "relay_ports",
        "relay_ipv4",
        "relay_ipv6",
        "external",
        "external_from",
    },
    "log": {"level"},
}
# Tables and options that count at once as a whole.
_TABLES_AT_ONCE = {"users", "policy", "limits", "realms", "redirects"}


def counts_at_once(option: str) -> bool:
    """Whether an option, named by table and name, counts when it is read again."""
    table, _, name = option.partition(".")
    return table in _TABLES_AT_ONCE or name in _AT_ONCE.get(table, ())
