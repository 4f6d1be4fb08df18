"""What every place for bindings must do, whichever software keeps them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from natkit.address import Address
from natkit.machine import Failure, Path, Transport
from sip_proxy.location import Accepted, Binding, ContactChange, Outcome, Refused, Registration
from sip_proxy.shell.stores import Location

NOW = 1_700_000_000.0
ALICE, BOB = "sip:alice@example.org", "sip:bob@example.org"
FLOW = Path(Transport.TCP, Address("192.0.2.1", 5060), Address("2001:db8::1", 40000))
HERE, THERE = "sip:a@192.0.2.10", "sip:a@192.0.2.11"


def registration(
    number: int = 1, contact: str = HERE, *, expires: int = 3600, call_id: str = "1"
) -> Registration:
    """A REGISTER of one contact."""
    change = ContactChange(contact, expires, 1000, '<urn:uuid:"ü">', None)
    return Registration((change,), call_id, number, ("sip:edge;lr",), FLOW, "phöne \x00 1.0")


async def updated(
    location: Location, name: str, change: Registration, now: float = NOW
) -> Outcome | Failure:
    """Apply a REGISTER, and wait for the outcome."""
    outcome: asyncio.Future[Outcome | Failure] = asyncio.get_running_loop().create_future()
    location.update(name, change, now, outcome.set_result)
    return await outcome


async def outcomes_in_groups(location: Location, count: int) -> list[int]:
    """How many outcomes of REGISTERs that come at once are given together, each time."""
    groups: list[int] = []

    @contextmanager
    def together() -> Iterator[None]:
        groups.append(0)
        yield

    def count_one(outcome: Outcome | Failure) -> None:
        assert isinstance(outcome, Accepted)
        groups[-1] += 1

    location.answer_within(together)
    for number in range(count):
        location.update(f"sip:{number}@example.org", registration(), NOW, count_one)
    await location.aclose()
    return groups


async def found(location: Location, name: str, now: float = NOW) -> tuple[Binding, ...] | Failure:
    """The bindings of an address of record."""
    result: asyncio.Future[tuple[Binding, ...] | Failure]
    result = asyncio.get_running_loop().create_future()
    location.find(name, now, result.set_result)
    return await result


async def contacts(location: Location, name: str, now: float = NOW) -> list[str]:
    """The contacts of an address of record, sorted."""
    bindings = await found(location, name, now)
    assert not isinstance(bindings, Failure), bindings
    return sorted(binding.contact for binding in bindings)


async def all_updated(
    location: Location, changes: Sequence[tuple[str, Registration]]
) -> list[Outcome | Failure]:
    """The outcomes of REGISTERs that come at once."""
    return list(await asyncio.gather(*(updated(location, *change) for change in changes)))


class LocationContract:
    """A suite: a subclass gives the fixture ``location``, which is open, empty, and holds 1000."""

    async def test_a_binding_is_found_as_it_was_registered(self, location: Location) -> None:
        outcome = await updated(location, ALICE, registration())
        assert isinstance(outcome, Accepted)
        assert await found(location, ALICE) == outcome.bindings
        (binding,) = outcome.bindings
        assert (binding.contact, binding.flow) == (HERE, FLOW)
        assert (binding.expires_at, binding.updated_at) == (NOW + 3600, NOW)
        assert (binding.instance, binding.user_agent) == ('<urn:uuid:"ü">', "phöne \x00 1.0")
        assert await found(location, BOB) == ()

    async def test_several_contacts_stand_side_by_side(self, location: Location) -> None:
        await updated(location, ALICE, registration())
        await updated(location, ALICE, registration(contact=THERE, call_id="2"))
        assert await contacts(location, ALICE) == [HERE, THERE]

    async def test_a_contact_that_is_removed_is_gone(self, location: Location) -> None:
        await updated(location, ALICE, registration())
        assert await updated(location, ALICE, registration(2, expires=0)) == Accepted(())
        assert await found(location, ALICE) == ()
        # And may come back.
        assert isinstance(await updated(location, ALICE, registration(3)), Accepted)
        assert await contacts(location, ALICE) == [HERE]

    async def test_what_is_out_of_order_changes_nothing(self, location: Location) -> None:
        await updated(location, ALICE, registration(2))
        outcome = await updated(location, ALICE, registration(1, expires=0))
        assert isinstance(outcome, Refused)
        assert await contacts(location, ALICE) == [HERE]

    async def test_a_question_changes_nothing(self, location: Location) -> None:
        first = await updated(location, ALICE, registration())
        assert await updated(location, ALICE, Registration((), "9", 1)) == first
        assert await updated(location, BOB, Registration((), "9", 1)) == Accepted(())

    async def test_what_has_expired_is_not_found_and_is_forgotten(self, location: Location) -> None:
        await updated(location, ALICE, registration(expires=60))
        await updated(location, BOB, registration(expires=120))
        assert await contacts(location, ALICE, NOW + 59) == [HERE]
        assert await contacts(location, ALICE, NOW + 60) == []
        location.forget_expired(NOW + 60)
        # A question gets no answer before what was asked earlier is done.
        assert await contacts(location, BOB, NOW + 60) == [HERE]
        while len(location) != 1:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
        assert list(await location.listed(10)) == [BOB]

    async def test_changes_that_come_at_once_build_on_each_other(self, location: Location) -> None:
        changes = [
            (ALICE, registration(number, f"sip:a@192.0.2.{number}", call_id=str(number)))
            for number in range(1, 16)
        ]
        outcomes = await all_updated(location, changes)
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert len(await contacts(location, ALICE)) == 15

    async def test_many_at_once_are_all_kept(self, location: Location) -> None:
        names = [f"sip:{number}@example.org" for number in range(800)]
        outcomes = await all_updated(location, [(name, registration()) for name in names])
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert len(await location.listed(10_000)) == 800
        for name in names[::50]:
            assert await contacts(location, name) == [HERE]

    async def test_names_that_look_alike_are_different(self, location: Location) -> None:
        names = ["sip:a@example.org", "sip:A@example.org", "sip:a%00@example.org", "sip:a'@x.org"]
        for number, name in enumerate(names, 1):
            await updated(location, name, registration(contact=f"sip:{number}@192.0.2.10"))
        for number, name in enumerate(names, 1):
            assert await contacts(location, name) == [f"sip:{number}@192.0.2.10"]

    async def test_a_full_store_refuses_newcomers_alone(self, location: Location) -> None:
        names = [f"sip:{number}@example.org" for number in range(1000)]
        await all_updated(location, [(name, registration()) for name in names])
        location.forget_expired(NOW)
        refused = await updated(location, ALICE, registration())
        assert isinstance(refused, Refused)
        assert refused.status == 503
        # Those who are there renew, and leave.
        assert isinstance(await updated(location, names[0], registration(2)), Accepted)
        assert isinstance(await updated(location, names[0], registration(3, expires=0)), Accepted)
        assert isinstance(await updated(location, ALICE, registration()), Accepted)
        assert isinstance(await updated(location, BOB, registration()), Refused)
