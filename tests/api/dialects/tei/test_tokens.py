"""POST /tokenize and /decode."""

from openbei.prompts import Prompts
from openbei.serving.fake_engine import FakeEngine

from ....small_tokenizer import VOCAB_SIZE, ids, words
from ...conftest import Served, Start, small_manifest


def test_tokenize(served: Served) -> None:
    def token(token_id: int, text: str, start: int | None = None, stop: int | None = None) -> dict[str, object]:
        return {"id": token_id, "text": text, "special": start is None, "start": start, "stop": stop}

    first, last = token(2, "[CLS]"), token(3, "[SEP]")
    assert served.post("/tokenize", inputs=["w1 w2", "w3"]) == [
        [first, token(5, "w1", 0, 2), token(6, "w2", 3, 5), last],
        [first, token(7, "w3", 0, 2), last],
    ]
    assert served.post("/tokenize", inputs="w3", add_special_tokens=False) == [[token(7, "w3", 0, 2)]]


def test_tokenize_cuts_nothing(served: Served) -> None:
    [tokens] = served.post("/tokenize", inputs=words(0, 500))
    assert [token["id"] for token in tokens] == ids(0, 500)


def test_tokenize_with_a_prompt(start: Start) -> None:
    served = start(FakeEngine(), manifest=small_manifest(prompts=Prompts({"query": "w900 "}, default="query")))
    [plain] = served.post("/tokenize", inputs="w1")
    [prompted] = served.post("/tokenize", inputs="w1", prompt_name="query")
    assert [token["id"] for token in plain] == [2, 5, 3]
    assert [token["id"] for token in prompted] == [2, 904, 5, 3]


def test_decode(served: Served) -> None:
    assert served.post("/decode", ids=ids(1, 2)) == ["w1 w2"]
    assert served.post("/decode", ids=[ids(1, 2), [7], []]) == ["w1 w2", "w3", ""]
    assert served.post("/decode", ids=ids(1, 2), skip_special_tokens=False) == ["[CLS] w1 w2 [SEP]"]


def test_wrong_requests(served: Served) -> None:
    assert served.refused("/tokenize", inputs=[]) == (400, "inputs is an empty list")
    assert served.refused("/tokenize", inputs=["w1", ""]) == (422, "inputs[1] is an empty string")
    assert served.refused("/tokenize", inputs="w1", prompt_name="x")[0] == 422
    assert served.refused("/decode", ids=[]) == (400, "ids is an empty list")
    assert served.refused("/decode", ids=[5, [6]]) == (422, "ids mixes token ids and lists of token ids")
    for given in ([5, VOCAB_SIZE], [[5, -1]], [[2**70]]):
        status, message = served.refused("/decode", ids=given)
        assert status == 422
        assert f"token ids are 0 to {VOCAB_SIZE - 1}" in message
