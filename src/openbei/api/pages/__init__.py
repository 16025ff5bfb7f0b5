"""Routes about the server itself: health, metrics, the list of routes, OpenAPI and the docs page."""
