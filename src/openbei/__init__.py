"""openbei: an inference engine and server for embedding models."""

from importlib.metadata import version

__version__ = version("openbei")
