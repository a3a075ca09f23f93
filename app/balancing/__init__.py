"""Where source machines go: placement, load balance, switch, rebalance."""
