"""Handling of every request, independent of its route: keys, bodies, errors, headers, encoding, metrics and traces."""
