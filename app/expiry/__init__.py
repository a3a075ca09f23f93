"""Expiry notices: certificates that run out, and releases whose support ends."""
