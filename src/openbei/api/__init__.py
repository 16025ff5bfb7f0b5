"""HTTP: routes, wire formats and statuses. The scheduler and the model are passed to `create_app`."""
