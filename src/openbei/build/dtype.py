"""The number format of weights and tables that are not quantized."""

from openbei.config import Deployment
from openbei.quantization import NO_QUANTIZATION
from openbei.spec import DType, ModelSpec, TokenTermHead


def choose_dtype(deployment: Deployment, spec: ModelSpec) -> tuple[DType, str]:
    """The format, and the reason.

    float16 has more significant bits than bfloat16, but overflows above 65504. On a GPU it is the default of models
    that normalize every sum, whose activations are small.
    """
    given = next((note.reason for note in deployment.notes if note.subject == "dtype"), "requested")
    if isinstance(spec.head, TokenTermHead):
        return "float32", "a weight for each token takes little room"
    if deployment.target == "cpu" and deployment.dtype == "float16":
        return "bfloat16", f"{given} is float16; CPUs compute in bfloat16, which has the same size"
    if deployment.dtype and (deployment.dtype != "float16" or deployment.quantization == NO_QUANTIZATION):
        return deployment.dtype, given
    if deployment.target == "cpu":
        return "bfloat16", "the default on a CPU"
    if deployment.quantization != NO_QUANTIZATION:
        return "bfloat16", "quantized weights are expanded to it"
    if spec.placement == "post":
        return "float16", "the default on a GPU for models that normalize every sum"
    return "bfloat16", "the default on a GPU"
