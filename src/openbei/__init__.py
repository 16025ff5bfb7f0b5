"""openbei: an inference engine and server for embedding models."""

__version__ = "0.1.0"
