"""Tokens say what was written into them, and nothing that anybody else wrote is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Path, Transport
from natkit.sip import SipUri
from sip_proxy.flow_tokens import FlowToken, FlowTokens
from tests.sip_proxy.world import KEY

PORTS = st.integers(0, 65535)


@st.composite
def tokens(draw: st.DrawFn) -> FlowToken:
    hosts = st.ip_addresses(v=draw(st.sampled_from([4, 6]))).map(str)
    local, remote = (Address.of(draw(hosts), draw(PORTS)) for _ in range(2))
    return FlowToken(Path(draw(st.sampled_from(Transport)), local, remote), draw(st.booleans()))


@given(tokens())
def test_a_token_is_read_as_it_was_written_and_fits_into_a_uri(token: FlowToken) -> None:
    written = FlowTokens(KEY).write(token)
    uri = SipUri.parse(f"sip:{written}@192.0.2.5;lr")
    assert FlowTokens(KEY).read(uri.user or "") == token


@given(tokens(), st.data())
def test_a_token_with_another_character_is_none(token: FlowToken, data: st.DataObject) -> None:
    written = FlowTokens(KEY).write(token)
    # Of the last character some bits say nothing.
    position = data.draw(st.integers(0, len(written) - 2))
    other = data.draw(st.sampled_from("ABCdef019-_").filter(lambda one: one != written[position]))
    changed = written[:position] + other + written[position + 1 :]
    assert FlowTokens(KEY).read(changed) is None


@given(tokens())
def test_a_token_of_another_key_is_none(token: FlowToken) -> None:
    assert FlowTokens(bytes(16)).read(FlowTokens(KEY).write(token)) is None


@given(st.text(max_size=100))
def test_any_other_text_is_none(text: str) -> None:
    assert FlowTokens(KEY).read(text) is None


def test_a_short_key_is_none() -> None:
    with pytest.raises(MisuseError, match="16 bytes"):
        FlowTokens(bytes(15))
