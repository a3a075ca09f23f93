"""What a configuration server's process servers carry, could carry, and lack."""
