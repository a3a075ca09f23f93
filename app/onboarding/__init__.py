"""Adding a process server: what to install, from where, with which command line; and the download itself."""
