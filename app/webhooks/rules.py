"""Which addresses a webhook may reach: nothing inside, unless the operator of Muster allows its network. Pure.

Whoever may create a webhook makes Muster send requests from where it stands. Without these rules that is a way to
what only Muster reaches: the metadata service of a cloud, a database, a neighbour (server-side request forgery).
"""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's special-purpose registries (RFC 6890 and later), as a list of our own: the library's answers changed
# between releases of Python.
_SPECIAL_V4 = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carriers (CGNAT)",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local, where clouds have their metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "a relay of 6to4",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    # A public address by the registry, and yet answered by each Azure host itself.
    "168.63.129.16/32": "the metadata service of Azure",
}
_SPECIAL_V6 = {
    "2001::/23": "reserved for protocols",
    "2001:db8::/32": "for documentation",
    "2002::/16": "a way to an IPv4 address (6to4)",
    "3fff::/20": "for documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
    "::1/128": "loopback",
    "::/128": "unspecified",
}
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_SPECIAL: dict[int, list[tuple[Network, str]]] = {
    4: [(ipaddress.ip_network(text), what) for text, what in _SPECIAL_V4.items()],
    6: [(ipaddress.ip_network(text), what) for text, what in _SPECIAL_V6.items()],
}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = {0x00005EFE, 0x02005EFE}
"""The upper half of the interface identifier of ISATAP, whose lower half is an IPv4 address."""


def refusal_of(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why a webhook may not reach `address`, as words to follow "is"; None when it may.

    An address that the system or a translator turns into an IPv4 address (IPv4-mapped, NAT64) is judged as that.
    A network in `allowed` makes every address in it good.
    """
    meant = _meant(address)
    if any(meant in network for network in allowed if network.version == meant.version):
        return None
    for network, what in _SPECIAL[meant.version]:
        if meant in network:
            return what if meant == address else f"{meant}, {what}"
    if isinstance(meant, ipaddress.IPv4Address):
        return None
    if meant not in _GLOBAL_V6:
        return "not a public address"
    if (int(meant) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "a way to an IPv4 address (ISATAP)"
    return None


def _meant(address: Address) -> Address:
    """The address that packets to `address` end up at."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
