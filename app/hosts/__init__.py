"""Hosts: the machines that agents run on, and their way in."""
