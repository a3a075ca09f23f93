"""Vaults: the top of the tree."""
