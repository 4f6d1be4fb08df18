"""Text of others, made fit for a terminal, a page or a database."""

__all__ = ["printable"]

_UNSHOWN = "\N{REPLACEMENT CHARACTER}"


def printable(text: str, kept: str = "") -> str:
    """The text with a sign in the place of what steers terminals or is no character.

    Characters of ``kept`` stay in any case.
    """
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() or each in kept else _UNSHOWN for each in text])
