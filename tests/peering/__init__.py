"""Foreign software as test fixtures.

A test that needs it carries ``@pytest.mark.peer("coturn")`` with a name of ``tests/peers.toml``.
When the peer is missing or too old the test is skipped and the summary says once what to install;
with ``CI=true`` it fails, and so does every other test that is skipped.

Fixtures (see :mod:`tests.peering.plugin`), each stopping what it started, by its own handle:

``coturn``
    A running coturn: :class:`~tests.peering.coturn.Coturn` with ``address`` (UDP and TCP),
    ``username``, ``password``, ``realm``.  Peers on loopback are allowed.
``start_coturn(*extra_arguments, host="127.0.0.1")``
    Starts one more, with flags of its own: ``start_coturn("--stale-nonce=5")``.
``start_named(zones, options="")``
    Starts BIND 9 with these zones (name to text) and returns the Address that answers, over UDP and
    TCP.  ``options`` goes into named's ``options`` block.  A zone without SOA gets one, with an NS.
``stunclient(server, *arguments)`` and ``uclient(server, *arguments, ...)``
    Functions in :mod:`tests.peering.turnutils`: coturn's test clients, run with a time limit, their
    totals parsed.

When a test fails, the report shows what its peers wrote.
"""
