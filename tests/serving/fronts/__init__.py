"""Front processes: the protocol, its two sides, and the metrics of several processes."""
