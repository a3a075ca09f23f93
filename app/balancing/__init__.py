"""Placement, load balance, switch and rebalance: which process server carries which source machine."""
