"""Dialects: request and response structs of each kind of client, and their handlers."""
