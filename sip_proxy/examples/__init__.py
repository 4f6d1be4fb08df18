"""Policies to begin with: each module is a whole file for ``[hooks] file = …``."""

__all__: list[str] = []
