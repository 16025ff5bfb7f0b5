"""What surrounds every request: keys, its body, errors, headers, how answers are written, metrics and traces."""
