"""POST /similarity: cosines, with prompts, and its own way to count a batch."""

import numpy as np

from openbei.api.limits import Limits
from openbei.prompts import Prompts
from openbei.serving.fake_engine import FakeEngine

from ....small_tokenizer import ids, words
from ...conftest import Served, Start, small_manifest


def ask(source: str, sentences: list[str], **parameters: object) -> dict[str, object]:
    inputs = {"source_sentence": source, "sentences": sentences}
    return {"inputs": inputs} | ({"parameters": parameters} if parameters else {})


def test_cosines(served: Served) -> None:
    answer = served.post("/similarity", **ask("w1 w2", ["w3", "w1 w2", "w4 w5"]))
    source = served.expected(ids(1, 2))
    wanted = [source @ served.expected(read) for read in (ids(3, 1), ids(1, 2), ids(4, 2))]
    np.testing.assert_allclose(answer, wanted, atol=1e-6)


def test_prompts(start: Start) -> None:
    prompts = Prompts({"query": "w900 ", "text": "w901 "}, default="text")
    served = start(FakeEngine(), manifest=small_manifest(prompts=prompts))
    for name, word in ((None, 901), ("query", 900)):
        [cosine] = served.post("/similarity", **ask("w1", ["w2"], **({"prompt_name": name} if name else {})))
        first, second = ([2, 4 + word, 4 + i, 3] for i in (1, 2))
        np.testing.assert_allclose(cosine, served.expected(first) @ served.expected(second), atol=1e-6)


def test_the_source_counts_as_well(start: Start) -> None:
    served = start(FakeEngine(), limits=Limits(max_client_batch_size=3))
    assert len(served.post("/similarity", **ask("w1", ["w1"] * 2))) == 2
    status, message = served.refused("/similarity", **ask("w1", ["w1"] * 3))
    assert status == 422
    assert message.startswith("batch size 4 > maximum allowed batch size 3")


def test_wrong_requests(served: Served) -> None:
    assert served.refused("/similarity", **ask("", ["w1"])) == (422, "inputs.source_sentence is an empty string")
    assert served.refused("/similarity", **ask("w1", [])) == (400, "inputs.sentences is an empty list")
    assert served.refused("/similarity", **ask("w1", ["w1", ""])) == (422, "inputs.sentences[1] is an empty string")
    status, message = served.refused("/similarity", **ask("w1", ["w1", words(0, 90)], truncate=False))
    assert (status, message.partition(";")[0]) == (422, "inputs.sentences[1] has 92 tokens")
