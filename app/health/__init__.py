"""Health: the worst alert that is firing."""
