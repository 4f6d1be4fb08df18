"""What sipp plays: calls from INVITE to BYE, and registrations."""

__all__ = ["CALLEE", "CALLER", "REGISTERING"]

_PARTIES = """\
From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:service@[target]>[peer_tag_param]
Call-ID: [call_id]"""

_END = """\
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Length: 0
"""

_SESSION = """\
v=0
o=caller 53655765 2353687637 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
"""

_VIA = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"

CALLER = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="call, answered and ended">
<send retrans="500"><![CDATA[

INVITE sip:service@[target] SIP/2.0
{_VIA}
{_PARTIES}
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

{_SESSION}
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rrs="true"/>
<send><![CDATA[

ACK [next_url] SIP/2.0
{_VIA}
[routes]
{_PARTIES}
CSeq: 1 ACK
{_END}
]]></send>
<send retrans="500"><![CDATA[

BYE [next_url] SIP/2.0
{_VIA}
[routes]
{_PARTIES}
CSeq: 2 BYE
{_END}
]]></send>
<recv response="100" optional="true"/>
<recv response="200"/>
</scenario>
"""
"""One who calls: ``-key target HOST:PORT`` is whom, by way of the proxy."""

_ANSWER = """\
[last_Via:]
[last_From:]
[last_To:];tag=[pid]-[call_number]
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>"""

CALLEE = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="answers calls">
<recv request="INVITE"/>
<send><![CDATA[

SIP/2.0 180 Ringing
{_ANSWER}
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[

SIP/2.0 200 OK
{_ANSWER}
Content-Type: application/sdp
Content-Length: [len]

{_SESSION}
]]></send>
<recv request="ACK"/>
<recv request="BYE"/>
<send><![CDATA[

SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"""
"""One who is called, and hung up on."""

REGISTERING = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="registrations">
<send retrans="500"><![CDATA[

REGISTER sip:example.org SIP/2.0
{_VIA}
From: <sip:[field0]@example.org>;tag=[pid]-[call_number]
To: <sip:[field0]@example.org>
Call-ID: [call_id]
CSeq: 1 REGISTER
Contact: <sip:[field0]@[local_ip]:[local_port]>;expires=3600
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>
"""
"""Users who register, one after the other from a file of names (``-inf``)."""
