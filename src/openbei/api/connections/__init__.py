"""Connections: HTTP/1.1, TLS, limits and deadlines. No routes."""
