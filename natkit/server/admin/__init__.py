"""The administrative HTTP of a server: who may in, what every answer carries, where it listens."""

__all__: list[str] = []
