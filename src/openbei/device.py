"""What engines run on."""

from typing import Literal

Device = Literal["cpu", "cuda"]
"""What an engine runs on, and what an engine directory is built for."""

DeviceChoice = Literal["auto", "cpu", "cuda"]
"""What a user can ask for; auto is the fastest that a backend here runs on."""
