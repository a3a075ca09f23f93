"""Webhooks: signed HTTP requests that tell receivers of events."""
