from sip_proxy.location import Accepted, BindingTable, ContactChange, Refused, Registration

NOW = 1_700_000_000.0


def registration(number: int, expires: int = 60) -> Registration:
    return Registration((ContactChange("sip:a@192.0.2.10", expires, 1000),), "1", number)


def test_the_table_is_bounded_and_has_room_again_when_somebody_leaves() -> None:
    table = BindingTable(largest_count=2)
    for name in ("sip:a@example.org", "sip:b@example.org"):
        assert isinstance(table.update(name, registration(1), NOW), Accepted)
    refused = table.update("sip:c@example.org", registration(1), NOW)
    assert isinstance(refused, Refused)
    assert refused.status == 503
    # Those who are there renew, and leave.
    assert isinstance(table.update("sip:a@example.org", registration(2), NOW), Accepted)
    assert isinstance(table.update("sip:a@example.org", registration(3, 0), NOW), Accepted)
    assert isinstance(table.update("sip:c@example.org", registration(1), NOW), Accepted)
    assert len(table) == 2


def test_what_has_expired_makes_room() -> None:
    table = BindingTable(largest_count=1)
    table.update("sip:a@example.org", registration(1), NOW)
    table.forget_expired(NOW + 60)
    assert isinstance(table.update("sip:b@example.org", registration(1), NOW + 60), Accepted)
