"""The upgrade plan of a whole site: what, in which order, over which releases, and what has to be rebooted."""
