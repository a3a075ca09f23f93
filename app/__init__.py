"""Muster: the open control plane for scale-out process servers."""

__version__ = "0.1.0"
