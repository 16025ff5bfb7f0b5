"""What every request needs, whatever its route: keys, bodies, errors, headers, encoding, metrics and traces."""
