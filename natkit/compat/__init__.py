"""Faces of other libraries over natkit, for programs that were written for those."""

__all__: list[str] = []
