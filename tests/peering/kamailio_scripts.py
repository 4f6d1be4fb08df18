"""What Kamailio does in tests with the proxy.

It is the next hop, the edge before the proxy, or the registrar that the proxy is an edge of.
"""

_MODULES = """
loadmodule "tm.so"
loadmodule "outbound.so"
loadmodule "rr.so"
loadmodule "path.so"
"""

_WITHIN = """
    if (is_method("OPTIONS") && uri == myself) {
        sl_send_reply("200", "Alive");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    if (loose_route()) {
        if (is_method("INVITE") && !has_totag()) record_route();
        t_relay();
        exit;
    }
    if (is_method("ACK")) {
        if (t_check_trans()) t_relay();
        exit;
    }
"""


def next_hop(user_agent: str) -> str:
    """A proxy of another domain, all of whose calls go to one user agent, by its URI."""
    return f"""{_MODULES}
request_route {{{_WITHIN}
    if (is_method("INVITE")) record_route();
    $du = "{user_agent}";
    t_relay();
}}
"""


def by_dns() -> str:
    """A proxy that sends calls to where the DNS leads (RFC 3263), past servers that fail."""
    return f"""
dns_try_naptr=on
use_dns_cache=on
use_dns_failover=on
{_MODULES}
request_route {{{_WITHIN}
    if (is_method("INVITE")) record_route();
    t_relay();
}}
"""


def edge(proxy: str) -> str:
    """An edge proxy (RFC 5626 §5): it keeps the flows of phones, and sends all to ``proxy``."""
    return f"""{_MODULES}
request_route {{{_WITHIN}
    if (is_method("REGISTER")) {{
        add_path();
    }} else if (is_method("INVITE")) {{
        record_route();
    }}
    $du = "{proxy}";
    t_relay();
}}
"""


def registrar() -> str:
    """A registrar and proxy with outbound, Path and GRUUs, whose phones come through an edge."""
    return f"""{_MODULES}
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 1)
modparam("registrar", "outbound_mode", 1)
request_route {{{_WITHIN}
    if (is_method("REGISTER")) {{
        save("location");
        exit;
    }}
    if (is_method("INVITE")) record_route();
    if (!lookup("location")) {{
        sl_send_reply("404", "Not Found");
        exit;
    }}
    t_relay();
}}
"""
