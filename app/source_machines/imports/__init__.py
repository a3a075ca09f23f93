"""Importing source machines from a file: thousands in one transaction, all of them or none."""
