"""The ``natkit`` command, and in :mod:`natkit.cli.entry` what all commands share."""

__all__: list[str] = []
