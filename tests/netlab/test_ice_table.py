"""The page about ICE behind real NATs has each pair of them, as theory says."""

from itertools import combinations_with_replacement

from tests.netlab.ice_pairs import KINDS, Met, all_pairs, theory
from tests.netlab.ice_table import PAGE, TITLES, page
from tests.netlab.nats import Kind


def test_a_cell_says_by_which_way_and_in_how_long() -> None:
    found = {
        (Kind.OPEN, Kind.OPEN): Met(relayed=False, first_data=0.2),
        (Kind.OPEN, Kind.SYMMETRIC): Met(relayed=True, first_data=0.5),
    }
    assert "| no NAT | direct 0.20 |  |  |  | *relayed* 0.50 |  |  |  |  |" in page(found)


def test_all_pairs_are_each_two_kinds_once() -> None:
    pairs = [pair for some in all_pairs(at_once=4) for pair in some]
    assert len(pairs) == len(set(pairs)) == 45
    assert {kind for pair in pairs for kind in pair} == set(KINDS) == set(TITLES)


def test_the_page_of_this_checkout_is_as_theory_says() -> None:
    rows = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if "|" in line]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    for one, other in combinations_with_replacement(KINDS, 2):
        cell = cells[TITLES[one]][KINDS.index(other)]
        assert cell.split()[0] == ("*relayed*" if theory(one, other) else "direct"), (one, other)
