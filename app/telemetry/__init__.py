"""Telemetry history: five-minute buckets of what each host sent, filled by heartbeats, read in steps."""
