"""The devices that engines run on."""

from typing import Literal

Device = Literal["cpu", "cuda"]
"""The device of an engine, and the target of an engine directory."""

DeviceChoice = Literal["auto", "cpu", "cuda"]
"""The device options; auto is the fastest one that a backend supports."""
