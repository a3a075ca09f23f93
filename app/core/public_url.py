"""The URL that agents and browsers reach this Muster under."""

from fastapi import Request


def public_url(request: Request) -> str:
    """`MUSTER_PUBLIC_URL`, else scheme and host of the request; no trailing slash."""
    configured: str | None = request.app.state.settings.public_url
    return (configured or str(request.base_url)).rstrip("/")
