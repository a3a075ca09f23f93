"""Notifications: the outbox between the event record and those who are told, whatever the channel."""
