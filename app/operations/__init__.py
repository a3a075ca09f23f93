"""Operating Muster itself: liveness, readiness, metrics, documentation pages, housekeeping."""
