"""The record of what happened: append-only, numbered in commit order within a vault."""
