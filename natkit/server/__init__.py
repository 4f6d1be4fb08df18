"""What the servers share."""

__all__: list[str] = []
