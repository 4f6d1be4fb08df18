"""Valid messages that hostile ones are made of, and those of RFC 4475 and RFC 5118."""

from pathlib import Path

VECTORS = Path(__file__).parents[1] / "vectors"


def message(text: str) -> bytes:
    return text.lstrip("\n").replace("\n", "\r\n").encode()


REGISTER = message("""
REGISTER sip:example.org SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1;rport
Max-Forwards: 70
From: <sip:alice@example.org>;tag=1
To: <sip:alice@example.org>
Call-ID: register@192.0.2.10
CSeq: 1 REGISTER
Contact: <sip:alice@192.0.2.77>;q=0.7;expires=600;+sip.instance="<urn:uuid:0-1>";reg-id=1
Supported: path, outbound, gruu
Authorization: Digest username="alice", realm="example.org", nonce="00", uri="sip:example.org",
 response="00112233445566778899aabbccddeeff", algorithm=MD5, qop=auth, cnonce="c", nc=00000001
Path: <sip:edge.example.org;lr;ob>
Expires: 3600
Content-Length: 0

""")
INVITE = message("""
INVITE sip:alice@example.org SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK2;rport
Max-Forwards: 70
Max-Breadth: 10
From: "Alice \\"A\\"" <sip:alice@example.org>;tag=2
To: <sip:bob@example.org>
Call-ID: invite@192.0.2.10
CSeq: 2 INVITE
Contact: <sip:alice@192.0.2.10;ob>
Route: <sip:192.0.2.5;lr>, <sip:192.0.2.77;lr>
Content-Type: multipart/mixed;boundary=b
Content-Length: 63

--b
Content-Type: application/sdp

v=0
c=IN IP4 192.0.2.10
--b--
""")
TWO_CONTACTS = REGISTER.replace(b";reg-id=1", b", <sip:alice@192.0.2.78;transport=tcp>;expires=0")
OURS = [REGISTER, TWO_CONTACTS, INVITE, INVITE.replace(b"Route:", b"X-Route:")]
OURS += [INVITE.replace(b"INVITE", method) for method in (b"MESSAGE", b"BYE", b"ACK", b"CANCEL")]
SEEDS = OURS * 8
SEEDS += [file.read_bytes() for file in sorted(VECTORS.glob("rfc[45]*/*.dat"))]
