"""The client's channel list: numbers, refreshes, quarantine, bounds."""

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.turn.channels import MAX_CHANNELS, Channels, ChannelState
from natkit.turn.permissions import REFRESH_MARGIN
from natkit.turn.registry import CHANNEL_LIFETIME, CHANNEL_QUARANTINE

PEER = Address("192.0.2.1", 5000)


def peer(number: int) -> Address:
    return Address("192.0.2.2", number)


def test_numbers_are_drawn_from_0x4000_to_0x4fff_and_then_there_are_no_more() -> None:
    channels = Channels()
    numbers = [channels.request(peer(port)).number for port in range(MAX_CHANNELS)]
    assert numbers == [*range(0x4000, 0x5000)]
    with pytest.raises(MisuseError):
        channels.request(PEER)
    assert channels.request(peer(7)).number == 0x4007


def test_data_is_expected_as_soon_as_the_request_is_out_but_not_sent_before_the_answer() -> None:
    channels = Channels()
    channel = channels.request(PEER)
    assert channels.peer_of(channel.number) == PEER
    assert channels.bound_number(PEER) is None
    assert channels.bind(channel, 0.0)
    assert channels.bound_number(PEER) == channel.number
    assert not channels.bind(channel, 1.0)


def test_a_channel_is_refreshed_in_time_and_once() -> None:
    channels = Channels()
    channel = channels.request(PEER)
    channels.bind(channel, 5.0)
    deadline = 5.0 + CHANNEL_LIFETIME - REFRESH_MARGIN
    assert channels.next_deadline() == deadline
    assert channels.due(deadline).refresh == (channel,)
    assert channels.due(deadline + 1).refresh == ()


def test_an_unanswered_refresh_is_retried_until_the_binding_ends() -> None:
    channels = Channels()
    channel = channels.request(PEER)
    channels.bind(channel, 0.0)
    channels.due(520.0)
    assert channels.retry(channel, 559.5)
    assert channels.due(559.5).refresh == (channel,)
    due = channels.due(CHANNEL_LIFETIME)
    assert (due.refresh, due.ended) == ((), (channel,))
    assert not channels.retry(channel, CHANNEL_LIFETIME)


def test_number_and_peer_stay_together_for_five_minutes_after_the_end() -> None:
    channels = Channels()
    channel = channels.request(PEER)
    channels.bind(channel, 0.0)
    channels.release(PEER.host)
    assert channels.due(CHANNEL_LIFETIME - REFRESH_MARGIN).refresh == ()
    assert channels.due(CHANNEL_LIFETIME).ended == (channel,)
    assert channels.peer_of(channel.number) is None
    over = CHANNEL_LIFETIME + CHANNEL_QUARANTINE
    assert channels.next_deadline() == over
    for port in range(MAX_CHANNELS - 1):
        assert channels.request(peer(port)).number != channel.number
    with pytest.raises(MisuseError):
        channels.request(peer(MAX_CHANNELS))
    channels.due(over)
    assert channels.request(peer(MAX_CHANNELS)).number == channel.number


def test_a_peer_in_quarantine_gets_its_old_number_back() -> None:
    channels = Channels()
    channel = channels.request(PEER)
    channels.bind(channel, 0.0)
    channels.release(PEER.host)
    channels.due(CHANNEL_LIFETIME - REFRESH_MARGIN)
    channels.due(CHANNEL_LIFETIME)
    again = channels.request(PEER)
    assert again.number == channel.number
    assert again.state is ChannelState.REQUESTED
    assert channels.next_deadline() is None


def test_a_refused_number_that_was_never_bound_is_free_at_once() -> None:
    channels = Channels()
    channels.refuse(channels.request(PEER), 1.0)
    assert len(channels) == 0
    assert channels.next_deadline() is None


def test_a_refused_number_that_was_bound_is_quarantined() -> None:
    channels = Channels()
    channel = channels.request(PEER)
    channels.bind(channel, 0.0)
    channels.refuse(channel, 520.0)
    assert channels.bound_number(PEER) is None
    assert channels.next_deadline() == CHANNEL_LIFETIME + CHANNEL_QUARANTINE


def test_a_number_whose_request_went_unanswered_counts_as_bound_from_then() -> None:
    channels = Channels()
    channel = channels.request(PEER)
    channels.doubt(channel, 39.5)
    assert channels.bound_number(PEER) is None
    assert channels.next_deadline() == 39.5 + CHANNEL_LIFETIME + CHANNEL_QUARANTINE
