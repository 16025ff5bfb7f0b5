"""`bei bench` under load and with a report, and `bei compare`: what they print and write."""

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from openbei.cli import main
from openbei.engine_dir import EngineDir
from tests.checkpoint import build_engine
from tests.load.loopback import Answer, loopback
from tests.prose import texts


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


class Background:
    """A loopback server in a thread."""

    def __init__(self, answer: Answer) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(answer)))
        self._thread.start()
        self._ready.wait()

    async def _serve(self, answer: Answer) -> None:
        self._done = asyncio.Event()
        async with loopback(answer) as (_, server):
            self.url = f"http://127.0.0.1:{server.port}"
            self._ready.set()
            await self._done.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()


@pytest.fixture(scope="module")
def servers() -> Iterator[list[str]]:
    """Two servers: one answers at once, one refuses every third request."""
    running = [Background(lambda _: (0.0, 200)), Background(lambda index: (0.0, 429 if index % 3 == 2 else 200))]
    yield [server.url for server in running]
    for server in running:
        server.close()


def test_load(servers: list[str], tmp_path: Path) -> None:
    urls = ("--url", f"fast={servers[0]}", "--url", f"<b>={servers[1]}/embed")
    rates = ("--rate", 200, "--rate", 100, "--rate-seconds", 0.3)
    done = invoke("bench", *urls, *rates, "--report", tmp_path / "out.html", "--figures", tmp_path / "figures")
    assert done.exit_code == 0, done.output
    rows = re.findall(r"^(fast|<b>) +([\d.]+) +([\d.]+) .*$", done.output, re.MULTILINE)
    assert [(name, offered) for name, offered, _ in rows] == [
        *(("fast", "100.0"), ("fast", "200.0"), ("<b>", "100.0"), ("<b>", "200.0"))
    ]
    assert done.output.count("429: ") == 2
    page = (tmp_path / "out.html").read_text("utf-8")
    assert page.count("<svg") == 3
    assert "&lt;b&gt;" in page
    assert "<b>=" not in page
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {
        "50th-percentile-of-latency-by-offered-rate.svg",
        "99th-percentile-of-latency-by-offered-rate.svg",
        "achieved-rate-by-offered-rate.svg",
    }
    for path in (tmp_path / "figures").iterdir():
        assert ElementTree.parse(path).getroot().attrib["class"] == "chart"


def test_rates_follow_the_capacity(servers: list[str], tmp_path: Path) -> None:
    """Without --rate; one server has a chart of its percentiles."""
    done = invoke("bench", "--url", servers[0], "--rate-seconds", 0.1, "--report", tmp_path / "out.html")
    assert done.exit_code == 0, done.output
    most = float(re.findall(r": ([\d.e+]+) requests/s$", done.output, re.MULTILINE)[0])
    label = servers[0].removeprefix("http://")
    offered = [float(n.replace(",", "")) for n in re.findall(rf"^{label} +([\d,.]+) ", done.output, re.MULTILINE)]
    assert offered == pytest.approx(
        [most * share for share in (0.1, 0.25, 0.5, 0.7, 0.85, 0.95, 1.1)], rel=0.01, abs=12
    )
    assert f"Latency of {label} by offered rate" in (tmp_path / "out.html").read_text("utf-8")


def test_load_errors(servers: list[str], tmp_path: Path) -> None:
    nothing = invoke("bench")
    assert (nothing.exit_code, "give a TARGET, or a server with --url" in nothing.output) == (2, True)
    wrong = invoke("bench", "--url", "localhost:8000")
    assert (wrong.exit_code, "localhost:8000 is not a URL of a server" in wrong.output) == (1, True)
    (tmp_path / "keys").write_text("a\nb\n")
    keys = invoke("bench", "--url", servers[0], "--key-file", tmp_path / "keys")
    assert (keys.exit_code, "has 2 keys for 1 servers" in keys.output) == (1, True)
    gone = Background(lambda _: (0.0, 200))
    gone.close()
    refused = invoke("bench", "--url", gone.url, "--rate-seconds", 0.1)
    assert refused.exit_code == 1
    assert re.search(rf"^error: {gone.url}/v1/embeddings gave no response: .*Connect call failed", refused.output, re.M)


def test_engine_report(tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    done = invoke("bench", tiny_engine_dir.path, "--seconds", 0.01, "--batch-tokens", 300, "--report", path)
    assert done.exit_code == 0, done.output
    page = path.read_text("utf-8")
    assert page.count("<svg") == 2
    rows = re.findall(r'<tr><th scope="row">(\d+)</th><td>(\d+)</td><td>(\d+)</td>', page)
    assert [(int(length), int(count)) for length, count, _ in rows] == [
        *((16, 1), (16, 4), (16, 16), (16, 18), (64, 1), (64, 4), (128, 1), (128, 2))
    ]
    assert all(int(length) * int(count) == int(tokens) for length, count, tokens in rows)


@pytest.mark.parametrize(("quantization", "has_share"), [("weights_int8", True), ("smooth_quant", False)])
def test_quantized_engines(quantization: str, has_share: bool, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The peak is that of products in bfloat16, so products of integers have no share of it."""
    engine = tmp_path / "engine"
    assert invoke("build", tiny_checkpoint, "--quantization", quantization, "--out", engine).exit_code == 0
    done = invoke("bench", engine, "--seconds", 0.01, "--batch-tokens", 100)
    assert (done.exit_code, done.output.count("tokens/s")) == (0, 3)
    assert ("of the matrix peak" in done.output) == has_share


def test_compare(tiny_engine_dir: EngineDir, tiny_checkpoint: Path, tmp_path: Path) -> None:
    exact = build_engine(tiny_checkpoint, tmp_path / "exact")
    given = tmp_path / "texts.txt"
    given.write_text("\n".join(texts(30, longest=20)))
    report = ("--report", tmp_path / "out.html")
    done = invoke("compare", exact.path, tiny_engine_dir.path, "--texts", given, "--seconds", 0.01, *report)
    assert done.exit_code == 0, done.output
    figures = dict(re.findall(r"^(\S[^\d\n]*?) {2,}([\d.]+)$", done.output, re.MULTILINE))
    assert 0.99 < float(figures["worst cosine"]) <= float(figures["mean cosine"]) < 1
    assert re.findall(r"^(short|mixed|long) texts, \d+ tokens +[\d,]+ +[\d,]+ +[\d.]+$", done.output, re.MULTILINE)
    sizes = re.search(r"^weights +([\d.]+) +([\d.]+) +([\d.]+)$", done.output, re.MULTILINE)
    assert sizes
    assert float(sizes[3]) < 0.75
    peaks = re.search(r"^peak of resident memory +([\d.]+) +([\d.]+) +[\d.]+$", done.output, re.MULTILINE)
    assert peaks
    assert float(peaks[1]) > 0
    page = (tmp_path / "out.html").read_text("utf-8")
    assert "Accuracy: B compared with A" in page
    assert "30 documents, 6 queries" in page
    assert page.count("<svg") == 1


def test_compare_refuses(tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one\n")
    done = invoke("compare", tiny_engine_dir.path, tiny_engine_dir.path, "--texts", tmp_path / "texts.txt")
    assert (done.exit_code, "at least 20 are needed" in done.output) == (1, True)
