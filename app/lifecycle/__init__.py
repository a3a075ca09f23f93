"""The end of a process server's life: purge, in bulk too, and readmission."""
