from sip_proxy.trace import Arrow, Ladder, Participant
from sip_proxy.trace.text import as_text

ALICE = Participant("udp", "192.0.2.10:5060", "alice")
PROXY = Participant("", "", "proxy")
BOB = Participant("wss", "[2001:db8::11]:51000", "bob")
START = 1_700_000_000.1234


def arrow(
    number: int,
    sender: int,
    receiver: int,
    summary: str,
    method: str = "INVITE",
    *,
    has_sdp: bool = False,
    is_repeated: bool = False,
) -> Arrow:
    time = START + number * 0.25
    return Arrow(time, sender, receiver, summary, f"1 {method}", has_sdp, is_repeated, "")


CALL = Ladder(
    "abc@alice",
    (ALICE, PROXY, BOB),
    1,
    (
        arrow(0, 0, 1, "INVITE sip:bob@example.org", has_sdp=True),
        arrow(1, 1, 2, "INVITE sip:bob@2001:db8::11", has_sdp=True),
        arrow(2, 1, 2, "INVITE sip:bob@2001:db8::11", has_sdp=True, is_repeated=True),
        arrow(3, 2, 1, "200 OK", has_sdp=True),
        arrow(4, 1, 0, "480 A reason that is much longer than what there is room for"),
        arrow(5, 1, 0, "200 OK", "BYE"),
    ),
)

DRAWN = """\
Call-ID abc@alice
6 messages from 2023-11-14 22:13:20.123 UTC

                    alice                      proxy                       bob
             udp 192.0.2.10:5060                                wss [2001:db8::11]:51000
                      |                          |                          |
  +0.000              |------- INVITE SDP ------>|                          |
  +0.250              |                          |------- INVITE SDP ------>|
  +0.500              |                          |---- INVITE SDP again --->|
  +0.750              |                          |<------- 200 OK SDP ------|
  +1.000              |<-- 480 A reason that... -|                          |
  +1.250              |<------- 200 (BYE) -------|                          |
"""

LISTED = """\
Call-ID abc@alice
6 messages from 2023-11-14 22:13:20.123 UTC

  [0] udp 192.0.2.10:5060 alice
  [1] proxy
  [2] wss [2001:db8::11]:51000 bob

   +0.000  [0] -> [1]  INVITE SDP
   +0.250  [1] -> [2]  INVITE SDP
   +0.500  [1] -> [2]  INVITE SDP again
   +0.750  [2] -> [1]  200 OK SDP
   +1.000  [1] -> [0]  480 A reason that is much longer than what there is room for
   +1.250  [1] -> [0]  200 (BYE)
"""


def test_a_ladder_is_drawn_where_its_columns_fit() -> None:
    assert as_text(CALL, 92) == DRAWN


def test_and_listed_where_they_do_not() -> None:
    assert as_text(CALL, 60) == LISTED


def test_an_arrow_passes_the_columns_between() -> None:
    crossing = Ladder("x", (PROXY, ALICE, BOB), 0, (arrow(0, 0, 2, "CANCEL sip:b", "CANCEL"),))
    drawn = as_text(crossing, 100).splitlines()[-1]
    assert drawn.count("|") == 2
    assert "- CANCEL -" in drawn


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in range(92, 140):
        assert max(map(len, as_text(CALL, width).splitlines())) <= width


def test_it_says_that_there_was_more() -> None:
    cut = Ladder("x", (ALICE, PROXY), 1, (arrow(0, 0, 1, "BYE sip:b", "BYE"),), is_cut=True)
    assert as_text(cut).splitlines()[1] == (
        "1 message from 2023-11-14 22:13:20.123 UTC; there were more before"
    )
