"""What the steps share: the device, the size of the measurement, and a timer that waits for the device."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from openbei.gpus import Capability

Result = dict[str, object]
"""What a step reports: JSON."""

CALLS = 10
"""Calls in a graph, to measure their time on the device."""


@dataclass(frozen=True)
class Run:
    """A run on a device. `is_tiny` uses small shapes and spends no time on measurements, to test the code."""

    device: torch.device
    is_tiny: bool

    @property
    def is_cuda(self) -> bool:
        """Whether there is a GPU."""
        return self.device.type == "cuda"

    @property
    def free_bytes(self) -> int:
        """Free memory of the device."""
        return int(torch.cuda.mem_get_info(self.device)[0]) if self.is_cuda else 1 << 34

    @property
    def capability(self) -> Capability:
        """The compute capability; that of an H100 on a CPU."""
        return Capability(*torch.cuda.get_device_capability(self.device)) if self.is_cuda else Capability(9, 0)

    def seconds(self, full: float) -> float:
        """The time for a measurement."""
        return 0.0 if self.is_tiny else full

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def seconds_per_call(self, function: Callable[[], object], seconds: float) -> float:
        """Mean time of calls that are started one after another without waiting, after two that warm up."""
        for _ in range(2):
            function()
        self.synchronize()
        start = time.perf_counter()
        function()
        self.synchronize()
        once = time.perf_counter() - start
        count = max(int(self.seconds(seconds) / max(once, 1e-6)), 1)
        start = time.perf_counter()
        for _ in range(count):
            function()
        self.synchronize()
        return (time.perf_counter() - start) / count

    def device_seconds(self, function: Callable[[], object], seconds: float) -> float:
        """Mean time of calls on the device, without the host's time to launch them. They must not wait for it."""
        if not self.is_cuda:
            return self.seconds_per_call(function, seconds)
        function()
        self.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CALLS):
                function()
        return self.seconds_per_call(graph.replay, seconds) / CALLS


def attempt(function: Callable[[], object]) -> object:
    """The result of a measurement, or the error as text: one failure does not end a step."""
    try:
        return function()
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
