"""The shell of the proxy: sockets, connections, users and bindings for the machine."""

__all__: list[str] = []
