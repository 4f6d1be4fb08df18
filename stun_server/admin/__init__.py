"""The server over HTTP: status page, metrics, health, connectivity test, credentials."""

__all__: list[str] = []
