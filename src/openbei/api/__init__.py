"""HTTP: routes, wire format, statuses. No queue, no model; what it serves is passed to `create_app`."""
