"""Which network interface of this machine leads to an address."""

import fcntl
import socket
import struct

_SIOCGIFADDR = 0x8915


def interface_towards(address: tuple[str, int]) -> str | None:
    """The name of the interface that packets to ``address`` leave by (netdevice(7)); None where it cannot be told, which
    includes IPv6."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: it only chooses the way.
            probe.connect(address)
        except OSError:
            return None
        own = socket.inet_aton(probe.getsockname()[0])
        return next((name for _, name in socket.if_nameindex() if _address(probe, name) == own), None)


def _address(probe: socket.socket, name: str) -> bytes | None:
    """The interface's first IPv4 address, packed; None when it has none."""
    try:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
    except OSError:
        return None
    return answer[20:24]
