"""Connections and what comes over them, up to whole requests: limits, deadlines, HTTP/1.1, TLS. No routes."""
