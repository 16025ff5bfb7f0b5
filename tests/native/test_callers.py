"""An encoder with many callers, in child processes, and out of memory: no crash, and the next result is right."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from openbei.backends.native import NativeEngine, encoder_over
from openbei.batch import PackedBatch, Sequence
from openbei.errors import EngineError
from tests.native.conftest import MakeEngineDir, MakeSpec

SETUP = """
import json, os, re, resource, signal, sys, threading
from pathlib import Path
import numpy as np
from openbei.backends import native
from openbei.batch import PackedBatch, Sequence
from openbei.errors import BackendError, EngineError
from openbei.spec import MLP, Attention, EmbeddingHead, LayerNorm, LearnedPositions, ModelSpec
from tests.random_engine import random_engine_dir

spec = ModelSpec(
    family="bert", vocab_size=211, type_vocab_size=2, hidden_size=64, num_layers=2,
    positions=LearnedPositions(max_positions=8192), attention=Attention(num_heads=2, num_kv_heads=2, head_dim=32),
    mlp=MLP(intermediate_size=96, activation="gelu"), norm=LayerNorm(eps=1e-12), head=EmbeddingHead(poolings=("cls",)),
)
engine_dir = random_engine_dir(spec)

def batch(*lengths):
    rng = np.random.default_rng(0)
    return PackedBatch.pack([Sequence(rng.integers(0, 211, n).astype(np.int32), n) for n in lengths])

def load(threads):
    return native.NativeEngine(native.encoder_over(engine_dir, threads=threads), spec, "float32")

def memory_kb(of):
    return int(re.search(of + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def output_of(program: str) -> Any:
    """What a separate process prints, as JSON. A crash there fails the test, and does not end the test run."""
    done = subprocess.run([sys.executable, "-c", SETUP + program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-2000:]}"
    return json.loads(done.stdout)


@pytest.mark.parametrize("threads", [1, 3])
def test_concurrent_callers_get_the_same_results(
    threads: int, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    spec = make_spec()
    engine = NativeEngine(encoder_over(make_engine_dir(spec), threads=threads), spec, "float32")
    rng = np.random.default_rng(1)
    lengths = [rng.integers(1, 150, rng.integers(1, 9)).tolist() for _ in range(40)]
    batches = [
        PackedBatch.pack([Sequence(rng.integers(0, 211, n).astype(np.int32), n) for n in of_batch])
        for of_batch in lengths
    ]
    alone = [engine.run(batch) for batch in batches]
    engine.wake()
    with ThreadPoolExecutor(9) as callers:
        for _ in range(3):
            callers.submit(engine.wake)
            for got, wanted in zip(callers.map(engine.run, batches), alone, strict=True):
                np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_child_process_gets_the_same_results(threads: int) -> None:
    """It is forked while another thread runs a batch."""
    output = output_of(f"""
engine = load({threads})
wanted = engine.run(batch(30, 5, 77))
others = threading.Thread(target=lambda: [engine.run(batch(300, 200)) for _ in range(30)])
others.start()
results = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(engine.run(batch(30, 5, 77)), wanted) for _ in range(3))
        del engine
        os._exit(0 if same else 1)
    results.append(os.waitpid(child, 0)[1])
others.join()
print(json.dumps([results, bool(np.array_equal(engine.run(batch(30, 5, 77)), wanted))]))
""")
    assert output == [[0] * 4, True]


def test_encoders_share_threads() -> None:
    """Encoders with the same number of threads have one pool, also in a child process; the last one ends it."""
    output = output_of("""
def num_threads():
    return len(os.listdir("/proc/self/task")) - before

before = 0
before = num_threads()
engines = [load(3) for _ in range(4)]
counts = [num_threads()]
engines += [load(2), load(1), load(1)]
counts.append(num_threads())
wanted = [engine.run(batch(30, 5, 77)) for engine in engines]
results = [None] * len(engines)

def run(i):
    results[i] = all(np.array_equal(engines[i].run(batch(30, 5, 77)), wanted[i]) for _ in range(20))

callers = [threading.Thread(target=run, args=(i,)) for i in range(len(engines))]
for caller in callers: caller.start()
for caller in callers: caller.join()
child = os.fork()
if child == 0:
    before = num_threads() + before
    same = all(np.array_equal(engine.run(batch(30, 5, 77)), found) for engine, found in zip(engines, wanted))
    os._exit(0 if same and num_threads() == 3 else 1)
status = os.waitpid(child, 0)[1]
engines.clear()
print(json.dumps([counts, num_threads(), results, status]))
""")
    assert output == [[2, 3], 0, [True] * 7, 0]


@pytest.mark.memory
def test_a_thread_that_cannot_start() -> None:
    """Address space is limited, so that there is no room for so many stacks."""
    output = output_of("""
before = len(os.listdir("/proc/self/task"))
resource.setrlimit(resource.RLIMIT_AS, (memory_kb("VmSize") * 1024 + 200_000_000, resource.RLIM_INFINITY))
try:
    native.effective_threads = lambda requested: requested
    native.load(engine_dir, native.Options(threads=500))
    message = "nothing"
except BackendError as error:
    message = error.message
left = len(os.listdir("/proc/self/task")) - before
print(json.dumps([message, left, load(2).run(batch(3)).shape]))
""")
    message, left, shape = output
    assert "of 500 cannot start" in message
    assert (left, shape) == (0, [1, 64])


@pytest.mark.memory
def test_a_batch_after_running_out_of_memory() -> None:
    """At each limit the batch raises an error or is right, and the next batch is right."""
    output = output_of("""
engine = load(2)
small, large = batch(30, 5), batch(8192)
wanted, wanted_large = engine.run(small), load(2).run(large)
outcomes = []
for mb in (0, 1, 2, 4, 6, 8, 10, 12, 14, 18, 22, 26, 30, 100):
    resource.setrlimit(resource.RLIMIT_AS, (memory_kb("VmSize") * 1024 + mb * 1_000_000, resource.RLIM_INFINITY))
    try:
        outcome = bool(np.array_equal(engine.run(large), wanted_large))
    except EngineError as error:
        outcome = "refused"
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    outcomes.append([outcome, bool(np.array_equal(engine.run(small), wanted))])
print(json.dumps(outcomes))
""")
    assert output[0][0] == "refused"
    assert output[-1][0] is True
    assert {outcome for outcome, _ in output} == {"refused", True}
    assert all(then for _, then in output)


@pytest.mark.memory
def test_only_threads_with_work_use_memory() -> None:
    """For one text of 8,192 tokens, 32 threads use little more memory than one."""
    grown = [
        output_of(f"""
engine = load({threads})
engine.run(batch(3))
before = memory_kb("VmRSS")
engine.run(batch(8192))
print(memory_kb("VmRSS") - before)
""")
        for threads in (1, 32)
    ]
    assert grown[1] < 12 * grown[0], f"{grown} kB"


@pytest.mark.memory
def test_memory_is_freed_after_a_large_batch() -> None:
    output = output_of("""
engine = load(2)
engine.run(batch(3))
before = memory_kb("VmRSS")
engine.run(batch(8192))
large = memory_kb("VmRSS") - before
for _ in range(130):
    engine.run(batch(3))
print(json.dumps([large, memory_kb("VmRSS") - before]))
""")
    large, left = output
    assert large > 8_000
    assert left < large / 4, f"{left} kB of {large} kB are still used"


def test_errors_are_engine_errors(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    spec = make_spec()
    engine = NativeEngine(encoder_over(make_engine_dir(spec)), spec, "float32")
    types = np.full(2, 2, np.int32)
    with pytest.raises(EngineError, match="token type 2 is outside the vocabulary of 2"):
        engine.run(PackedBatch.pack([Sequence(np.zeros(2, np.int32), 2, types)]))
