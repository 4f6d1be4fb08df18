"""The proxy over HTTP: metrics, health, pages for operators."""

__all__: list[str] = []
