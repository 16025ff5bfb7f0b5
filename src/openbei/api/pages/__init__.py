"""Routes about the server itself: its health, its routes, their description, the page that shows it."""
