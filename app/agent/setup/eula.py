"""The third-party software that comes with the agent, and its licenses."""

import importlib.metadata

THIRD_PARTY = {
    "anyio": "MIT",
    "certifi": "MPL-2.0",
    "exceptiongroup": "MIT AND PSF-2.0",
    "h11": "MIT",
    "httpcore": "BSD-3-Clause",
    "httpx": "BSD-3-Clause",
    "idna": "BSD-3-Clause",
    "typing_extensions": "PSF-2.0",
}
"""Distribution and license of all that the single-file package bundles."""


def eula_text() -> str:
    """Return the list and the texts of the licenses that this installation has at hand."""
    parts = [
        "Muster is licensed under Apache-2.0. Its agent comes with this third-party software:",
        "\n".join(f"  {name:<20} {license_name}" for name, license_name in THIRD_PARTY.items()),
    ]
    for name in THIRD_PARTY:
        texts = _license_texts(name)
        if texts:
            parts.append(f"---- {name} ----\n\n" + "\n\n".join(text.strip() for text in texts))
    return "\n\n".join(parts)


def _license_texts(name: str) -> list[str]:
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        # Only Python 3.10 needs all of them; an installation of its own has just what it uses.
        return []
    files = found.metadata.get_all("License-File") or []
    texts = [found.read_text(f"licenses/{file}") or found.read_text(file) for file in files]
    return [text for text in texts if text]
