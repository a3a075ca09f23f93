"""Health: rules as data, conditions that hold for a while, the alerts that come of them."""
