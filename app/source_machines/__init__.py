"""Source machines: the protected machines, each carried by exactly one process server."""
