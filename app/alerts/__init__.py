"""Alerts as operators read them: of a server, a site, a vault; firing and past."""
