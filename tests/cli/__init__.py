"""The command line is tried against canned answers."""
