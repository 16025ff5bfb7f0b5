"""Utilization of the matrix units: the engine's flops as a share of the peak, which is measured on registers alone."""

import statistics

from openbei.backends import load_engine
from openbei.cli.bench import LENGTHS, peak_flops, sequence_lengths, tokens_per_s
from openbei.flops import flops_of

from .results import Row, report
from .setting import Setting

BATCH_TOKENS = 4096


def run(setting: Setting) -> list[Row]:
    """The share of the peak for each class of lengths. Peak and engine are measured alternately."""
    engine_dir = setting.engine_dir()
    manifest = engine_dir.manifest
    engine = load_engine(engine_dir, threads=setting.threads)
    seconds = 0.5 * setting.scale
    rows, peaks = [], []
    for name in LENGTHS:
        lengths = sequence_lengths(name, BATCH_TOKENS, manifest)
        flops_a_token = sum(flops_of(manifest.spec, n) for n in lengths) / sum(lengths)
        shares = []
        for _ in range(setting.count(5)):
            peak = peak_flops(engine.info, manifest.dtype, seconds)
            assert peak, "only the native engine reports its peak"
            peaks.append(peak)
            shares.append(tokens_per_s(engine, lengths, manifest.spec, seconds) * flops_a_token / peak)
        rows.append(Row(f"share of the matrix peak, {name}", statistics.median(shares), "{:.0%}"))
    report("roofline", setting.about(), {"peak_tflops": statistics.median(peaks) / 1e12}, rows)
    return rows
