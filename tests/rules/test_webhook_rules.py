"""Which addresses a webhook may reach."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.rules import refusal_of

PUBLIC = ["93.184.215.14", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:2800:21f:cb07::1", "2a00::1"]
REFUSED = {
    "0.0.0.0": "this network",
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "100.64.0.1": "CGNAT",
    "100.100.100.200": "CGNAT",
    "127.0.0.1": "loopback",
    "127.255.255.255": "loopback",
    "168.63.129.16": "metadata",
    "169.254.169.254": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "reserved",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarks",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "not a public address",
    "::ffff:127.0.0.1": "127.0.0.1, loopback",
    "::ffff:169.254.169.254": "169.254.169.254, link-local",
    "::ffff:0:7f00:1": "not a public address",
    "64:ff9b::10.0.0.1": "10.0.0.1, private",
    "64:ff9b::a9fe:a9fe": "169.254.169.254, link-local",
    "64:ff9b:1::a00:1": "not a public address",
    "100::1": "not a public address",
    "2001::1": "reserved",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "reserved",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "6to4",
    "2002:a00:1::": "6to4",
    "3fff::1": "documentation",
    "5f00::1": "not a public address",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "febf::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "2a00::5efe:a00:1": "ISATAP",
    "2a00::200:5efe:a00:1": "ISATAP",
}


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses_pass(address: str) -> None:
    assert refusal_of(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_inside_is_refused_and_named(address: str) -> None:
    assert REFUSED[address] in str(refusal_of(ipaddress.ip_address(address)))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_whatever_it_is_wrapped(address: ipaddress.IPv4Address) -> None:
    plain = refusal_of(address) is None
    assert (refusal_of(ipaddress.IPv6Address(f"::ffff:{address}")) is None) == plain
    assert (refusal_of(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | int(address))) is None) == plain


@given(st.ip_addresses())
def test_nothing_passes_that_the_library_calls_special(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert refusal_of(address) is not None
    if address.version == 6 and refusal_of(address) is None and address not in ipaddress.ip_network("64:ff9b::/96"):
        assert address.ipv4_mapped is not None or address in ipaddress.ip_network("2000::/3")


def test_allowed_networks_open_exactly_themselves() -> None:
    allowed = [ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd00:1::/32")]
    for address in ("10.20.0.1", "10.20.255.255", "::ffff:10.20.0.1", "64:ff9b::10.20.0.1", "fd00:1::1", "8.8.8.8"):
        assert refusal_of(ipaddress.ip_address(address), allowed) is None
    for address in ("10.21.0.1", "::ffff:10.21.0.1", "127.0.0.1", "fd00:2::1", "2002:a14:1::1"):
        assert refusal_of(ipaddress.ip_address(address), allowed) is not None
