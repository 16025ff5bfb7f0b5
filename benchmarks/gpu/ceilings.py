"""Step 2: the speed of plain matrix products in the shapes of each model, which bounds the speed of the model."""

from collections.abc import Callable

import torch
from torch.nn import functional

from openbei.shapes import linear_shapes
from openbei.spec import GatedMLP, ModelSpec

from .run import Result, Run, attempt
from .shapes import names_of, spec_of

NUM_ROWS = 8192
SUSTAINED_S = 3.0
SHORT_S = 0.05


def run(run: Run) -> Result:
    """TFLOP/s of each product in short runs, and of the best one of each model sustained, by number format."""
    num_rows = 64 if run.is_tiny else NUM_ROWS
    result: Result = {"num_rows": num_rows, "sustained_s": run.seconds(SUSTAINED_S)}
    for name in names_of(run):
        spec = spec_of(name, run)
        formats = ["float16"] if spec.placement == "post" else ["bfloat16", "fp8", "fp8, fast accumulation"]
        result[name] = {one: attempt(lambda one=one, spec=spec: _ceiling(run, spec, one, num_rows)) for one in formats}
    return result


def products(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of the products of a layer, with gate and up as one."""
    shapes = linear_shapes(spec, 0)
    if isinstance(spec.mlp, GatedMLP):
        rows, columns = shapes.pop("mlp.gate")
        shapes["mlp.up"] = (2 * rows, columns)
    return shapes


def _ceiling(run: Run, spec: ModelSpec, number_format: str, num_rows: int) -> Result:
    speeds: dict[str, float] = {}
    for name, (outputs, inputs) in products(spec).items():
        call = _product(run, number_format, num_rows, outputs, inputs)
        speeds[name] = 2e-12 * num_rows * outputs * inputs / run.seconds_per_call(call, SHORT_S)
    best = max(speeds, key=lambda name: speeds[name])
    outputs, inputs = products(spec)[best]
    call = _product(run, number_format, num_rows, outputs, inputs)
    sustained = 2e-12 * num_rows * outputs * inputs / run.seconds_per_call(call, SUSTAINED_S)
    return {"tflops": speeds, "best": best, "sustained_tflops": sustained}


def _product(run: Run, number_format: str, rows: int, outputs: int, inputs: int) -> Callable[[], torch.Tensor]:
    x, w = (torch.randn(n, inputs, dtype=torch.bfloat16, device=run.device) for n in (rows, outputs))
    if not number_format.startswith("fp8"):
        dtype = getattr(torch, number_format)
        x, w = x.to(dtype), w.to(dtype)
        return lambda: functional.linear(x, w)
    x8, w8 = x.to(torch.float8_e4m3fn), w.to(torch.float8_e4m3fn)
    scale_x, scale_w = (torch.ones(shape, device=run.device) for shape in ((rows, 1), (1, outputs)))
    is_fast = "fast" in number_format
    return lambda: torch._scaled_mm(
        x8, w8.t(), scale_a=scale_x, scale_b=scale_w, out_dtype=torch.bfloat16, use_fast_accum=is_fast
    )
