"""The tree of exceptions: drawn in the module, and true to the drawing."""

import inspect
import re

import pytest

from natkit import errors
from natkit.errors import ErrorResponse, LocateError, MalformedMessage, NatkitError, StaleNonce


def _classes() -> list[type[NatkitError]]:
    return [
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, NatkitError)
    ]


def test_the_drawing_names_every_exception_and_no_other() -> None:
    drawn = re.findall(r"^ {4}[│├└─ ]*([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)

    assert sorted(drawn) == sorted(each.__name__ for each in _classes())


def test_each_code_gives_its_own_exception() -> None:
    for code, kind in ErrorResponse.by_code.items():
        raised = ErrorResponse.of(code, "why")
        assert type(raised) is kind
        assert (raised.code, raised.reason, str(raised)) == (code, "why", f"{code} why")


def test_the_drawing_gives_each_code_as_it_is() -> None:
    drawn = re.findall(r"([A-Z]\w+) +(\d{3})$", errors.__doc__ or "", re.MULTILINE)

    assert {int(code): name for name, code in drawn} == {
        code: kind.__name__ for code, kind in ErrorResponse.by_code.items()
    }


def test_an_unlisted_code_is_still_an_error_response() -> None:
    raised = ErrorResponse.of(699)

    assert type(raised) is ErrorResponse
    assert str(raised) == "699"


@pytest.mark.parametrize(
    ("natkit", "builtin"),
    [
        (errors.MalformedMessage, ValueError),
        (errors.MisuseError, ValueError),
        (errors.TransactionTimeout, TimeoutError),
        (errors.UnreachableError, ConnectionError),
    ],
)
def test_the_usual_builtin_catches_it(natkit: type[NatkitError], builtin: type[Exception]) -> None:
    assert issubclass(natkit, builtin)


def test_families_can_be_told_apart() -> None:
    assert issubclass(StaleNonce, ErrorResponse)
    assert not issubclass(MalformedMessage, ErrorResponse)
    assert issubclass(errors.NoService, LocateError)
    assert issubclass(errors.DnsFailure, LocateError)
