"""The proxy settings file: which proxy, and with which credentials. Pure functions.

Source: "Create a proxy settings configuration file" of the scale-out process server's page.
"""

import ipaddress
import re
from dataclasses import dataclass

from app.agent.state import Proxy

from .ini_file import read_section

HEADING = "ProxySettings"
_NAMES = ("ProxyAuthentication", "Proxy IP", "ProxyPort", "ProxyUserName", "ProxyPassword")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LOOKS_LIKE_ADDRESS = re.compile(r"[0-9.]+")


@dataclass(frozen=True)
class ProxyFile:
    """What the file says: a proxy, or what is wrong; and what is superfluous."""

    proxy: Proxy | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_proxy_settings(text: str) -> ProxyFile:
    """Return the proxy that a file describes, with every problem there is in it."""
    section = read_section(text, HEADING, _NAMES)
    values, problems = section.values, list(section.problems)
    authenticates = _authenticates(values, problems)
    address = _address(values, problems)
    port = _port(values, problems)
    user_name = values.get("ProxyUserName") or None
    password = values.get("ProxyPassword") or None
    warnings: list[str] = []
    if authenticates:
        if user_name is None:
            problems.append("ProxyUserName is missing; ProxyAuthentication is Yes")
        elif ":" in user_name:
            problems.append("ProxyUserName holds a colon, which Basic authentication can not send")
        if password is None:
            problems.append("ProxyPassword is missing; ProxyAuthentication is Yes")
    elif authenticates is False and (user_name or password):
        warnings.append("ProxyUserName and ProxyPassword are not used, because ProxyAuthentication is No")
    if problems:
        # A member whose line can not be read is not missing as well.
        said = " ".join(section.problems)
        own = [line for line in problems[len(section.problems) :] if line.partition(" is ")[0] not in said]
        return ProxyFile(None, (*section.problems, *own), tuple(warnings))
    return ProxyFile(
        Proxy(
            mode="custom",
            address=address,
            port=port,
            user_name=user_name if authenticates else None,
            password=password if authenticates else None,
        ),
        warnings=tuple(warnings),
    )


def _authenticates(values: dict[str, str], problems: list[str]) -> bool | None:
    said = values.get("ProxyAuthentication", "")
    if said.casefold() in {"yes", "no"}:
        return said.casefold() == "yes"
    fault = "is missing" if not said else "is neither Yes nor No"
    problems.append(f"ProxyAuthentication {fault}; use Yes or No")
    return None


def _address(values: dict[str, str], problems: list[str]) -> str | None:
    # The page names the proxy by URL in another place; what such a URL says more is in ProxyPort.
    text = re.sub(r"(?i)^http://", "", values.get("Proxy IP", "")).rstrip("/").strip("[]")
    if not text:
        problems.append("Proxy IP is missing; give the proxy's IP address or host name")
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST.fullmatch(text) and not _LOOKS_LIKE_ADDRESS.fullmatch(text):
            return text
    problems.append("Proxy IP is neither an IP address nor a host name; the port goes into ProxyPort")
    return None


def _port(values: dict[str, str], problems: list[str]) -> int | None:
    text = values.get("ProxyPort", "")
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    fault = "is missing" if not text else "is not a port"
    problems.append(f"ProxyPort {fault}; use a number from 1 to 65535")
    return None
