"""Memory: weights are mapped and never copied, and activations grow linearly with the length of a text."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoint import build_engine

PROGRAM = """
import json, re, sys
from pathlib import Path
import numpy as np
from openbei.backends import load_engine
from openbei.batch import PackedBatch, Sequence
from openbei.engine_dir import open_engine_dir

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

engine = load_engine(open_engine_dir(Path(sys.argv[1])), backend="native", threads=1)
before, peaks = peak_mb(), []
for length in (1024, 2048, 8192):
    ids = np.random.default_rng(0).integers(5, 700, length).astype(np.int32)
    engine.run(PackedBatch.pack([Sequence(ids, length)]), "pooled")
    peaks.append(peak_mb() - before)
print(json.dumps({"peaks": peaks, "smaps": Path("/proc/self/smaps").read_text()}))
"""

pytestmark = pytest.mark.memory

CONFIGS: dict[str, dict[str, int]] = {
    "BertModel": {},
    "ModernBertModel": {},
    "Qwen3Model": {"num_key_value_heads": 2, "head_dim": 16},
}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_memory_of_long_texts(architecture: str, make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make_checkpoint(architecture=architecture, max_position_embeddings=8192, **CONFIGS[architecture])
    build_engine(checkpoint, tmp_path / "engine")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "engine")]
    measured = json.loads(subprocess.check_output(command, text=True))
    short, long = measured["peaks"][1], measured["peaks"][2]
    assert long < 5 * short + 4, f"{measured['peaks']} MB for 1,024, 2,048 and 8,192 tokens"
    mappings = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", measured["smaps"])
    weights = [mapping for mapping in mappings if "weights.safetensors" in mapping]
    assert weights
    assert all(re.search(r"Private_Dirty:\s+0 kB", mapping) for mapping in weights)
