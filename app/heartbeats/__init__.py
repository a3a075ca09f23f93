"""The hot path: heartbeats in, group commits, answers out."""
