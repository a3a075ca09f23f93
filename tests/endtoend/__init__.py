"""The real server as a process of its own, and real agents."""
