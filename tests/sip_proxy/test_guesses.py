from natkit.sip import HeaderField
from natkit.sip.digest import AUTHORIZATION, WWW_AUTHENTICATE, Algorithm, Challenge
from sip_proxy.events import GuessesStopped
from sip_proxy.guesses import PROVEN, Guesses, GuessSettings
from tests.simnet.network import Network
from tests.sip_proxy.world import DOMAIN, Call, Phone, ProxyHost, settings

HERE = bytes([192, 0, 2, 10])
THERE = bytes([192, 0, 2, 11])
SETTINGS = GuessSettings(per_user=3, per_source=6, window=60.0, blocked_for=100.0)


def fill(guesses: Guesses, host: bytes, names: str, now: float = 0.0) -> list[bool]:
    return [guesses.was_wrong(host, name, now) for name in names]


def test_a_source_is_stopped_for_the_user_about_whom_it_is_wrong_and_for_no_other() -> None:
    guesses = Guesses(SETTINGS)
    assert fill(guesses, HERE, "aaa") == [False, False, True]
    assert guesses.wait(HERE, "a", 0.0) == 100.0
    assert guesses.wait(HERE, "b", 0.0) == 0.0
    assert guesses.wait(THERE, "a", 0.0) == 0.0
    assert guesses.wait(HERE, "a", 100.0) == 0.0


def test_going_from_name_to_name_stops_a_source_for_all_of_them() -> None:
    guesses = Guesses(SETTINGS)
    assert fill(guesses, HERE, "abcdef") == [False] * 5 + [True]
    assert guesses.wait(HERE, "z", 1.0) == 99.0
    assert guesses.wait(THERE, "z", 1.0) == 0.0


def test_an_office_is_not_stopped_by_its_one_phone_with_an_old_password() -> None:
    guesses = Guesses(SETTINGS)
    guesses.was_right(HERE, "b", 0.0)
    fill(guesses, HERE, "aaa" * 10, 1.0)
    assert guesses.wait(HERE, "a", 1.0) > 0
    assert guesses.wait(HERE, "b", 1.0) == 0.0
    fill(guesses, HERE, "abcdef", PROVEN + 1.0)
    assert guesses.wait(HERE, "b", PROVEN + 1.0) > 0


def test_who_mistypes_now_and_then_is_never_stopped() -> None:
    guesses = Guesses(SETTINGS)
    assert not any(guesses.was_wrong(HERE, "a", now) for now in range(0, 10_000, 21))


def test_a_right_password_forgives_the_wrong_ones() -> None:
    guesses = Guesses(SETTINGS)
    fill(guesses, HERE, "aa")
    guesses.was_right(HERE, "a", 0.0)
    assert fill(guesses, HERE, "aa") == [False, False]


def test_a_neighbour_s_address_of_the_same_site_is_the_same_source() -> None:
    guesses = Guesses(SETTINGS)
    site = bytes.fromhex("20010db800010002")
    for last in range(3):
        guesses.was_wrong(site + bytes([last] * 8), "a", 0.0)
    assert guesses.wait(site + bytes(8), "a", 0.0) > 0
    assert guesses.wait(bytes.fromhex("20010db800010003") + bytes(8), "a", 0.0) == 0


def test_the_table_is_bounded_and_forgets_the_oldest() -> None:
    guesses = Guesses(GuessSettings(per_user=1, largest_count=100))
    for number in range(1_000):
        guesses.was_wrong(number.to_bytes(4, "big"), "a", 0.0)
        assert len(guesses) <= 100
    assert guesses.wait((999).to_bytes(4, "big"), "a", 0.0) > 0
    assert guesses.wait((0).to_bytes(4, "big"), "a", 0.0) == 0.0


def test_0_stops_nobody() -> None:
    guesses = Guesses(GuessSettings(per_user=0, per_source=0))
    assert not any(fill(guesses, HERE, "a" * 1_000))
    assert guesses.wait(HERE, "a", 0.0) == 0.0


class TestThroughTheProxy:
    def proxy(self, network: Network) -> ProxyHost:
        proxy = ProxyHost(network, settings(authenticate=True, guesses=SETTINGS))
        proxy.users["alice", DOMAIN] = proxy.users["bob", DOMAIN] = "secret"
        return proxy

    def guess(self, network: Network, phone: Phone, times: int) -> list[int]:
        statuses = []
        for _ in range(times):
            first = phone.register()
            network.run_for(1.0)
            second = phone.authorized(first)
            network.run_for(1.0)
            statuses += second.statuses
        return statuses

    def test_a_password_is_not_found_by_trying(self, network: Network) -> None:
        proxy = self.proxy(network)
        alice = Phone(network, "alice", "192.0.2.10", password="wrong")
        assert self.guess(network, alice, 5) == [401] * 4 + [403]
        (stopped,) = [each for each in proxy.facts if isinstance(each, GuessesStopped)]
        assert (stopped.username, stopped.path.remote, stopped.wait) == ("alice", alice.local, 100)
        # The right one is not told from the wrong ones any more, until the time is over.
        alice.password = "secret"
        assert self.guess(network, alice, 1) == [403]
        network.run_for(100.0)
        assert self.guess(network, alice, 1) == [200]

    def test_neighbours_behind_the_same_nat_go_on(self, network: Network) -> None:
        self.proxy(network)
        nat = network.nat("nat", "198.51.100.1")
        alice = Phone(network, "alice", "10.0.0.2", behind=nat, password="wrong")
        bob = Phone(network, "bob", "10.0.0.3", behind=nat)
        assert self.guess(network, bob, 1) == [200]
        assert self.guess(network, alice, 7)[-1] == 403
        assert self.guess(network, bob, 1) == [200]

    def test_nobody_is_stopped_by_guesses_in_their_name(self, network: Network) -> None:
        """What was not asked of the address that it comes from is no guess of that address."""
        proxy = self.proxy(network)
        alice = Phone(network, "alice", "192.0.2.10")
        eve = Phone(network, "eve", "192.0.2.66")
        asked = eve.register()
        network.run_for(1.0)
        (challenge, *_) = asked.responses[-1].headers.get_all(WWW_AUTHENTICATE)
        assert isinstance(challenge, Challenge)
        for _ in range(20):
            # As if it came from Alice, with the nonce that Eve got.
            forged = challenge.answer("alice", "guess", "REGISTER", f"sip:{DOMAIN}", cnonce="c")
            call = alice.send(
                "REGISTER",
                f"sip:{DOMAIN}",
                HeaderField.of(AUTHORIZATION, forged),
                to=f"<{alice.uri}>",
            )
            network.run_for(1.0)
            assert is_stale(call)
        assert not any(isinstance(each, GuessesStopped) for each in proxy.facts)
        assert self.guess(network, alice, 1) == [200]


def is_stale(call: Call) -> bool:
    """Whether a call's last answer asks for the same password with another nonce."""
    challenges = call.responses[-1].headers.get_all(WWW_AUTHENTICATE)
    return all(isinstance(each, Challenge) and each.stale for each in challenges) and (
        len(challenges) == len(Algorithm)
    )
