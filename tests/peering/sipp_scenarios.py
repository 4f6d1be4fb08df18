"""Scenarios for sipp, put together from steps."""

from natkit.machine import Transport
from tests.peering.sipp_world import DOMAIN


def scenario(*steps: str) -> str:
    """The steps as sipp wants them."""
    return f'<?xml version="1.0"?><scenario name="steps">{"".join(steps)}</scenario>'


def send(text: str, *, again: bool = True, body: str = "") -> str:
    """Send a message; ``again`` until the next step's has come."""
    attribute = ' retrans="500"' if again else ""
    return f"<send{attribute}><![CDATA[\n{text}\nContent-Length: [len]\n\n{body}]]></send>\n"


def hear(status: int, *, optional: bool = False, **attributes: str) -> str:
    """Wait for a response; ``rrs="true"`` keeps the dialog's route, ``auth="true"`` a challenge."""
    more = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<recv response="{status}" optional="{str(optional).lower()}"{more}/>\n'


def take(method: str, *, optional: bool = False) -> str:
    """Wait for a request, and keep its route."""
    return f'<recv request="{method}" rrs="true" optional="{str(optional).lower()}"/>\n'


def take_and_remember() -> str:
    """Wait for an INVITE that may be answered after something else came."""
    kept = "".join(
        f'<ereg regexp="{name}:.*{name}: {end}" search_in="msg" assign_to="{to}"/>'
        for name, end, to in (
            ("Via", "[-A-Za-z0-9/. :;=]*", "1"),
            ("Record-Route", ".[-A-Za-z0-9_@.:;]*lr.", "2"),
        )
    )
    return f'<recv request="INVITE" rrs="true"><action>{kept}</action></recv>\n'


SDP = """v=0
o=- 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio 9 RTP/AVP 0
"""


def request(
    method: str,
    number: int,
    *more: str,
    uri: str = f"sip:bob@{DOMAIN}",
    branch: str = "[branch]",
    to: str = f"<sip:bob@{DOMAIN}>",
    of: str | None = None,
    hops: int = 70,
    again: bool = True,
) -> str:
    """Alice sends a request to Bob; ``of`` is the method in CSeq, where it is another."""
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch}",
        f"From: <sip:alice@{DOMAIN}>;tag=a[call_number]",
        f"To: {to}",
        "Call-ID: [call_id]",
        f"CSeq: {number} {of or method}",
        f"Max-Forwards: {hops}",
        "Contact: <sip:alice@[local_ip]:[local_port];transport=[transport]>",
        *more,
    ]
    if method != "INVITE":
        return send("\n".join(lines), again=again)
    return send("\n".join([*lines, "Content-Type: application/sdp"]), body=SDP)


def within(method: str, number: int, *, again: bool = True) -> str:
    """Alice sends a request within the dialog, by its route."""
    to = f"<sip:bob@{DOMAIN}>[peer_tag_param]"
    return request(method, number, "[routes]", uri="[next_url]", to=to, again=again)


def answer(status: int, *, tag: bool = True, again: bool = False) -> str:
    """Bob answers the last request; a 200 to an INVITE until its ACK has come."""
    lines = [
        f"SIP/2.0 {status} Because",
        "[last_Via:]",
        "[last_Record-Route:]",
        "[last_From:]",
        f"[last_To:]{';tag=b[call_number]' if tag else ''}",
        "[last_Call-ID:]",
        "[last_CSeq:]",
        "Contact: <sip:bob@[local_ip]:[local_port];transport=[transport]>",
    ]
    return send("\n".join(lines), again=again)


def answer_remembered(status: int) -> str:
    """Bob answers the INVITE, though it is not the last request."""
    return (
        answer(status, again=True)
        .replace("[last_Via:]", "[$1]")
        .replace("[last_Record-Route:]", "[$2]")
        .replace("[last_CSeq:]", "CSeq: 1 INVITE")
    )


def of_bob(method: str, number: int) -> str:
    """Bob sends a request within the dialog, by its route."""
    lines = [
        f"{method} [next_url] SIP/2.0",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
        "[routes]",
        f"From: <sip:bob@{DOMAIN}>;tag=b[call_number]",
        f"To: <sip:alice@{DOMAIN}>;tag=a[call_number]",
        "Call-ID: [call_id]",
        f"CSeq: {number} {method}",
        "Max-Forwards: 70",
    ]
    return send("\n".join(lines))


def register(
    port: int,
    transport: Transport = Transport.UDP,
    *,
    domain: str = DOMAIN,
    password: str | None = None,
    parameters: str = "",
) -> str:
    """Bob registers a contact on ``port``; with a password after a challenge."""
    transported = "" if transport is Transport.UDP else f";transport={transport}"

    def once(number: int, *more: str) -> str:
        lines = [
            f"REGISTER sip:{domain} SIP/2.0",
            "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport",
            "Max-Forwards: 70",
            f"From: <sip:bob@{domain}>;tag=[call_number]",
            f"To: <sip:bob@{domain}>",
            "Call-ID: [call_id]",
            f"CSeq: {number} REGISTER",
            f"Contact: <sip:bob@[local_ip]:{port}{transported}>{parameters}",
            *more,
        ]
        return send("\n".join(lines))

    if password is None:
        return scenario(once(1), hear(200))
    credentials = f"[authentication username=bob password={password}]"
    return scenario(once(1), hear(401, auth="true"), once(2, credentials), hear(200))
