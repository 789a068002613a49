"""Which addresses are public: reachable from anywhere, and so no way into the network that this service stands in."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

# The IANA registries of special-purpose addresses; said here, and not left to the interpreter's version.
_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by the customers of a carrier
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: clouds answer questions about themselves there
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # Teredo and others that carry an address inside
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries an IPv4 address inside
        "3fff::/20",
    )
)
# All of IPv6 that is given out. ::1, IPv4-mapped, NAT64, link-local, unique local and multicast lie outside.
_GIVEN_OUT = IPv6Network("2000::/3")


def is_public(address: str) -> bool:
    """Whether ``address``, as getaddrinfo spells it, is public."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip not in _GIVEN_OUT:
        return False
    return not any(ip in network for network in _SPECIAL if network.version == ip.version)
