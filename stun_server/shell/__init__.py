"""What stands around the server's machine: sockets, the relay plane, users, logs, signals."""

__all__: list[str] = []
