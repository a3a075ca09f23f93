"""Versions and support: the rules, and the release catalogue they are judged by."""
