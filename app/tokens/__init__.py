"""API tokens of operators and portals."""
