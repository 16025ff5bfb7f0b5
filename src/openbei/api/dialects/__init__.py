"""Dialects: for each kind of client the structs that go over the wire, and beside them the handlers."""
