"""What of a configuration that is read again counts at once."""

__all__ = ["counts_at_once"]

# What of these tables counts after a restart.
_AFTER_A_RESTART = {
    "listeners": {"listen"},
    "connections": {"handshake_timeout", "websocket_origins"},
    "registrations": {"store", "addresses"},
    "calls": {"records"},
    "log": {"json"},
}
# Tables and options that count after a restart as a whole.
_TABLES_AFTER_A_RESTART = {"data_dir", "admin", "keys"}


def counts_at_once(option: str) -> bool:
    """Whether an option, named by table and name, counts when it is read again."""
    table, _, name = option.partition(".")
    return table not in _TABLES_AFTER_A_RESTART and name not in _AFTER_A_RESTART.get(table, ())
