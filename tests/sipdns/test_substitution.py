"""RFC 3402 §3.2 and POSIX ERE, and what hostile zones publish."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage
from sipdns.substitution import LONGEST_RESULT, Substitution

NUMBER = "+441632960083"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("!^.*$!sip:info@example.com!", "sip:info@example.com"),
        (r"!^\+44(.*)$!sip:\1@example.com!", "sip:1632960083@example.com"),
        (r"!^(\+441632960(.*))$!sip:\1;x=\2@a!", "sip:+441632960083;x=083@a"),
        (r"/^\+(.)(.)(.)(.)(.)(.)(.)(.)(.).*/\9\8\7\6\5\4\3\2\1/", "069236144"),
        ("!^([+].*)$!SIP:\\1!I", "SIP:+441632960083"),
        ("!44!x:!", "+x:1632960083"),
        ("!^.*$!sip:a\\!b@c!", "sip:a!b@c"),
        ("|^.*$|sip:a\\\\b|", "sip:a\\b"),
        ("!^[+][[:digit:]]{12}$!tel:ok!", "tel:ok"),
        ("!^[+]44(.*)(.*)$!<\\1><\\2>!", "<1632960083><>"),
        ("!^+44!sip:a@b!", None),
        ("!(4|44|441)!<\\1>!", "+<441>632960083"),
        ("!(4|44)(41|1)?(632)?!<>!", "+<>960083"),
        ("!(4|41)*(6|16)?!<>!", "<>+441632960083"),
        ("!4(41|4)(163|16|1)!<>!", "+<>2960083"),
        ("![+](4|4416|441)(3296|32|6)*!<>!", "<>0083"),
        ("!0+|00+83!<>!", "+44163296<>"),
        ("!nothing!sip:a@b!", None),
    ],
)
def test_a_substitution_is_made_as_sed_makes_it(expression: str, result: str | None) -> None:
    assert Substitution.parse(expression).apply(NUMBER) == result


@pytest.mark.parametrize("flag", ["", "i", "I"])
def test_the_flag_i_ignores_case(flag: str) -> None:
    found = Substitution.parse(f"!^ABC$!x:y!{flag}").apply("abc")
    assert found == ("x:y" if flag else None)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "empty"),
        ("!^.*$!sip:a@b", "2 of the 3|1 of the 3|delimiters"),
        ("!^.*$!sip:a@b!i!", "delimiters"),
        ("1^.*$1sip:a@b1", "delimiter"),
        ("i^.*$isip:a@bi", "delimiter"),
        ("\\^.*$\\sip:a@b\\", "delimiter"),
        ("!^.*$!sip:a@b!g", "unknown flags"),
        ("!^(.*$!sip:a@b!", "no POSIX ERE"),
        ("!^(.*)\\1$!sip:a@b!", "has not"),
        ("!^\\d+$!sip:a@b!", "has not"),
        ("!^(?:.*)$!sip:a@b!", "no POSIX ERE"),
        ("!^(?=.*)$!sip:a@b!", "no POSIX ERE"),
        ("!^.*$!sip:\\1@b!", "group 1 of 0"),
        ("!^(.*)$!sip:\\0@b!", "group 0 of 1"),
        ("!^.{1001}$!sip:a@b!", "no POSIX ERE"),
    ],
)
def test_what_is_no_substitution_is_malformed(expression: str, words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        Substitution.parse(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "!^(4|4)*(((4*)*)*)*x$!sip:a@b!",
        "!^((((((((((.*)*)*)*)*)*)*)*)*)*)*x$!sip:a@b!",
        "!(.?){200}(.){200}x!sip:a@b!",
        "!^(" + "|".join("4" * count for count in range(1, 30)) + ")*x$!sip:a@b!",
    ],
)
def test_expressions_that_ruin_backtracking_end_without_a_match(expression: str) -> None:
    assert Substitution.parse(expression).apply("4" * 4000) is None


def test_repetitions_of_repetitions_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        Substitution.parse("!" + "(" * 8 + "." + "{99})" * 8 + "!sip:a@b!")


def test_a_result_has_a_bound() -> None:
    expression = "!^(.*)$!" + "\\1" * 120 + "!"
    assert len(Substitution.parse(expression).apply("+123456789012345") or "") == 120 * 16
    with pytest.raises(MalformedMessage, match="too long"):
        Substitution.parse(expression).apply("4" * (LONGEST_RESULT // 100))


@given(st.text(alphabet=st.sampled_from("!^$.*+?()[]{}|\\12i4a:-,"), max_size=60))
def test_any_text_is_read_or_malformed(text: str) -> None:
    try:
        Substitution.parse(text).apply(NUMBER)
    except MalformedMessage:
        pass


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(parts, min_size=2, max_size=3)
    return st.one_of(
        several.map("".join),
        several.map(lambda found: f"({'|'.join(found)})"),
        st.builds("({}){}".format, parts, st.sampled_from(["?", "*", "+", "{1,2}"])),
    )


PATTERNS = st.recursive(st.sampled_from(["4", "1", "41", "44", ".", "[14]"]), _joined, max_leaves=8)


@given(PATTERNS, st.text(alphabet="146", max_size=7))
def test_of_several_matches_the_leftmost_and_of_these_the_longest_counts(
    pattern: str, text: str
) -> None:
    whole = re.compile(pattern)
    found = next(
        (
            (start, end)
            for start in range(len(text) + 1)
            for end in range(len(text), start - 1, -1)
            if whole.fullmatch(text, start, end)
        ),
        None,
    )
    replaced = None if found is None else f"{text[: found[0]]}<>{text[found[1] :]}"
    assert Substitution.parse(f"!{pattern}!<>!").apply(text) == replaced
