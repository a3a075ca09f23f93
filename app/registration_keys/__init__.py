"""Registration keys: vault credentials with which configuration servers register."""
