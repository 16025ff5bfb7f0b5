"""Number formats and layouts: the encoding of a tensor's numbers, and their order in memory. One file each."""

from openbei.formats.bfloat16 import Bfloat16
from openbei.formats.float8 import Float8
from openbei.formats.float16 import Float16
from openbei.formats.float32 import Float32
from openbei.formats.format import Format
from openbei.formats.int8 import Int8
from openbei.formats.layout import Layout
from openbei.formats.nvfp4 import Nvfp4
from openbei.formats.panels import Panels
from openbei.formats.row_major import RowMajor
from openbei.formats.smooth_int8 import SmoothInt8

FORMATS: dict[str, Format] = {
    "bfloat16": Bfloat16(),
    "float16": Float16(),
    "float32": Float32(),
    "int8": Int8(),
    "float8": Float8(),
    "nvfp4": Nvfp4(),
    "smooth_int8": SmoothInt8(),
}

LAYOUTS: dict[str, Layout] = {
    "panels": Panels(),
    "row_major": RowMajor(),
}
