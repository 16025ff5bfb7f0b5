"""Weight schemes: how a linear weight is stored in an engine directory. One file a scheme, both sides of it in it."""

from openbei.quant.bfloat16 import Bfloat16
from openbei.quant.float32 import Float32
from openbei.quant.scheme import Scheme
from openbei.spec import DType

SCHEMES: dict[DType, Scheme] = {
    "bfloat16": Bfloat16(),
    "float32": Float32(),
}
