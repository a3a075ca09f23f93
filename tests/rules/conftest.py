"""No deadline per example: a busy machine is not a wrong rule."""

from hypothesis import settings

settings.register_profile("muster", deadline=None)
settings.load_profile("muster")
