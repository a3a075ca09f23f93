"""Configuration servers: each coordinates one site and brings an inbuilt process server."""
