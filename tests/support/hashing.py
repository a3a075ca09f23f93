"""Passphrase hashing at a cost that a suite of thousands of registrations can bear."""

from app.core import secrets

PRODUCTION_COST = dict(secrets.ARGON2_COST)
TEST_COST = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
