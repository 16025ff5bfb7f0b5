"""Storage: the number format and the layout of each tensor of an engine directory."""

from openbei.device import Device
from openbei.formats.storage import Storage
from openbei.quantization import Quantization, is_quantized
from openbei.shapes import kind_of, stored_shapes
from openbei.spec import ModelSpec

WEIGHT_LAYOUTS: dict[Device, str] = {"cpu": "panels", "cuda": "row_major"}
"""Layouts of the kernels of each device."""


def choose_storage(
    spec: ModelSpec, weight_format: str, target: Device, quantization: Quantization | None = None
) -> dict[str, Storage]:
    """The storage of every tensor, in file order.

    Weights and embedding tables have `weight_format`, quantized weights that of `quantization`; all else is float32.
    """
    layout = WEIGHT_LAYOUTS[target]
    kinds = {
        "weight": Storage(weight_format, layout),
        "table": Storage(weight_format, "row_major"),
        "bias": Storage("float32", layout),
        "plain": Storage("float32", "row_major"),
    }
    storage = {name: kinds[kind_of(name)] for name in stored_shapes(spec, target)}
    if quantization is None:
        return storage
    quantized = Storage(quantization.format, layout)
    return {name: quantized if is_quantized(name, quantization) else stored for name, stored in storage.items()}
