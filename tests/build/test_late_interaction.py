"""ColBERT checkpoints of each layout against sentence-transformers' MultiVectorEncoder, which reads them all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from openbei.backends import load_engine
from openbei.build.inspect import inspect_checkpoint
from openbei.build.keys import check_keys
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError, InputError, WrongTaskError
from openbei.open_model import OpenModel
from tests.checkpoint import build_engine, train_bpe_tokenizer, update_json, write_chain, write_json
from tests.families.parity import transformers_model
from tests.late_interaction import (
    DIMENSIONS,
    PYLATE,
    expected,
    projection,
    save_base,
    save_multi_vector,
    save_pylate,
    save_stanford,
)
from tests.prose import WORDS, texts

TEXTS = [*texts(3, longest=400), "a", "Who, what? Where!", ",."]
"""Texts that are longer than queries and documents, short ones, and one without vectors of its own."""

Save = Callable[[Path, Path], Path]
LAYOUTS: dict[str, Save] = {
    "PyLate": save_pylate,
    "PyLate, attended to": lambda folder, json: save_pylate(folder, json, attend_to_expansion_tokens=True),
    "PyLate, not expanded": lambda folder, json: save_pylate(folder, json, do_query_expansion=False),
    "PyLate, ModernBERT": lambda folder, json: save_pylate(
        folder, json, "ModernBertModel", query_length=32, local_attention=8, global_attn_every_n_layers=2
    ),
    "Stanford": save_stanford,
    "Stanford, with punctuation": lambda folder, json: save_stanford(
        folder, json, mask_punctuation=False, attend_to_mask_tokens=True
    ),
    "MultiVectorEncoder": lambda folder, json: save_multi_vector(
        folder, json, skipped=[".", ","], query_expansion={"strategy": "min", "length": 16}, query_length=25
    ),
    "MultiVectorEncoder, not expanded": lambda folder, json: save_multi_vector(
        folder, json, skipped=[], document_length=30
    ),
}
"""ModernBERT's local layers see 4 tokens on each side, so the last tokens of a short query see none."""


def open_model(engine_dir: EngineDir, backend: str = "native") -> OpenModel:
    return OpenModel(engine_dir, load_engine(engine_dir, backend=backend))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path, tokenizer_json: Path) -> None:
    checkpoint = LAYOUTS[layout](tmp_path / "checkpoint", tokenizer_json)
    assert [decision for decision in check_keys(checkpoint) if decision.is_warning] == []
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    exact = [expected(checkpoint, TEXTS, is_query=is_query) for is_query in (True, False)]
    for backend in ("reference", "native"):
        model = open_model(engine_dir, backend)
        for is_query, vectors in zip((True, False), exact, strict=True):
            found = model.token_embeddings(TEXTS, is_query=is_query)
            assert [one.shape for one in found] == [one.shape for one in vectors]
            for one, other in zip(found, vectors, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)
    products = [[float((q @ d.T).max(axis=1).sum()) for d in exact[1]] for q in exact[0]]
    scores = open_model(engine_dir).score([(query, text) for query in TEXTS for text in TEXTS])
    np.testing.assert_allclose(scores, np.concatenate(products), rtol=1e-4)


def test_other_tokenizers(tmp_path: Path) -> None:
    """Byte-level BPE, whose positions start after the padding token, and no token types."""
    tokenizer_json = train_bpe_tokenizer(tmp_path, WORDS[:20_000])
    checkpoint = save_pylate(tmp_path / "checkpoint", tokenizer_json, "RobertaModel", skiplist_words=[".", ","])
    model = open_model(build_engine(checkpoint, tmp_path / "engine"))
    for is_query in (True, False):
        vectors = expected(checkpoint, TEXTS, is_query=is_query)
        for one, other in zip(model.token_embeddings(TEXTS, is_query=is_query), vectors, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.fixture(scope="module")
def pylate(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> tuple[Path, EngineDir]:
    """A checkpoint in PyLate's layout, and its engine directory. Read only."""
    folder = tmp_path_factory.mktemp("pylate")
    checkpoint = save_pylate(folder / "checkpoint", tokenizer_json)
    return checkpoint, build_engine(checkpoint, folder / "engine")


def test_the_report(pylate: tuple[Path, EngineDir]) -> None:
    manifest = pylate[1].manifest
    report = {decision.subject: (decision.decision, decision.reason) for decision in manifest.report}
    source = "config_sentence_transformers.json"
    assert report["vectors of tokens"] == (f"dense to {DIMENSIONS}; normalized", source)
    assert report["queries"] == ("16 tokens, expanded to 16 with token 4, not attended to", source)
    assert report["documents"] == ("40 tokens; 4 words of the vocabulary have no vector", source)
    assert report["markers"] == ("[Q] and [D]", source)
    assert report["max_sequence_tokens"] == ("40", f"the longest length of {source}")
    assert (manifest.spec.task, manifest.default_route, manifest.similarity) == (
        "late_interaction",
        "/embed_all",
        "maxsim",
    )


def test_queries_and_documents_in_one_batch(pylate: tuple[Path, EngineDir]) -> None:
    model = open_model(pylate[1])
    together = model.score([(TEXTS[0], text) for text in TEXTS])
    alone = [model.score([(TEXTS[0], text)])[0] for text in TEXTS]
    np.testing.assert_array_equal(together, alone)
    done: list[int] = []
    ranked = model.rerank(TEXTS[0], TEXTS, top_n=2, progress=done.append)
    assert sum(done) == len(TEXTS)
    assert [one.index for one in ranked] == np.argsort(-together, kind="stable")[:2].tolist()


def test_texts_that_are_too_long(pylate: tuple[Path, EngineDir]) -> None:
    model, long = open_model(pylate[1]), "a " * 60
    with pytest.raises(InputError, match=r"texts\[0\] has 62 tokens; the limit is 39"):
        model.token_embeddings([long], truncate=False)
    with pytest.raises(InputError, match=r"texts\[1\] has 62 tokens; the limit is 15"):
        model.token_embeddings(["a", long], is_query=True, truncate=False)


def test_methods_of_other_models(pylate: tuple[Path, EngineDir], tiny_engine_dir: EngineDir) -> None:
    with pytest.raises(WrongTaskError, match="use token_embeddings, rerank, score"):
        open_model(pylate[1]).embed(["a"])
    with pytest.raises(InputError, match="is_query is true; this model has the same vectors for all texts"):
        open_model(tiny_engine_dir).token_embeddings(["a"], is_query=True)


def test_the_mean_of_similarities(tmp_path: Path, tokenizer_json: Path) -> None:
    checkpoint = save_multi_vector(tmp_path, tokenizer_json, skipped=[])
    update_json(checkpoint / "config_sentence_transformers.json", similarity_fn_name="meanmaxsim")
    model = open_model(build_engine(checkpoint, tmp_path / "engine"))
    [query], [document] = (model.token_embeddings(["a b c"], is_query=is_query) for is_query in (True, False))
    assert model.score([("a b c", "a b c")])[0] == pytest.approx((query @ document.T).max(axis=1).mean(), rel=1e-5)


def settings(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: update_json(folder / "config_sentence_transformers.json", **changes)


def only_mask(folder: Path, **config: Any) -> None:
    write_chain(folder, [("", "Transformer"), ("1_Mask", "MultiVectorMask")])
    write_json(folder / "1_Mask/config.json", config)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "unknown marker": (settings(query_prefix="[QUERY] "), r"the marker '\[QUERY\] ' is not a token of the tokenizer"),
    "no mask token": (
        lambda folder: update_json(folder / "tokenizer_config.json", mask_token=None, sep_token=None),
        "expanded with mask_token or eos_token, but the tokenizer has none",
    ),
    "padding on the left": (
        lambda folder: update_json(folder / "tokenizer_config.json", padding_side="left"),
        "padding_side is 'left'",
    ),
    "a residual": (
        lambda folder: update_json(
            folder / "1_Dense/config.json", use_residual=True, activation_function="torch.nn.Tanh"
        ),
        "use_residual is true; it is supported only without an activation",
    ),
    "another activation": (
        lambda folder: update_json(folder / "1_Dense/config.json", activation_function="torch.nn.Mish"),
        "activation_function",
    ),
    "pooled rows": (
        lambda folder: update_json(folder / "1_Dense/config.json", module_input_name="sentence_embedding"),
        "module_input_name",
    ),
    "another width": (lambda folder: update_json(folder / "1_Dense/config.json", in_features=63), "in_features is 63"),
    "no length": (settings(query_length=0), "query_length"),
    "no steps": (only_mask, "modules.json has neither Dense nor Normalize"),
    "other tasks": (lambda folder: only_mask(folder, skiplist_tasks=["query"]), "skiplist_tasks"),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_refuses(problem: str, tmp_path: Path, pylate: tuple[Path, EngineDir]) -> None:
    import shutil

    change, message = REFUSED[problem]
    folder = Path(shutil.copytree(pylate[0], tmp_path / "checkpoint"))
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        inspect_checkpoint(folder, None)


def test_defaults_of_pylate(tmp_path: Path, pylate: tuple[Path, EngineDir]) -> None:
    import shutil

    folder = Path(shutil.copytree(pylate[0], tmp_path / "checkpoint"))
    write_json(folder / "config_sentence_transformers.json", {"model_type": "ColBERT"})
    late = inspect_checkpoint(folder, None).late_interaction
    assert late is not None
    assert (late.query_length, late.expanded_length) == (32, 32)
    assert late.document_length == 128  # 180, but for the positions
    assert late.query_marker == json.loads((folder / "tokenizer.json").read_text())["added_tokens"][-2]["id"]
    assert len(late.skipped_ids) > len(PYLATE["skiplist_words"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"auto_map": {"AutoModel": "org/code--modeling.Model"}}, "HF_ColBERT of the model_type 'bert' with code of"),
        ({"model_type": "t5"}, "HF_ColBERT of the model_type 't5' is not supported"),
    ],
)
def test_other_models_in_stanfords_layout(
    config: dict[str, Any], message: str, tmp_path: Path, tokenizer_json: Path
) -> None:
    folder = save_stanford(tmp_path / "checkpoint", tokenizer_json)
    update_json(folder / "config.json", **config)
    with pytest.raises(CheckpointError, match=message):
        inspect_checkpoint(folder, None)


def test_jina_colbert(tmp_path: Path, tokenizer_json: Path) -> None:
    """Its own code is not run; transformers has the same model by another name."""
    architecture = "JinaEmbeddingsV3Model"
    hidden_states = transformers_model(save_base(tmp_path / "base", tokenizer_json, ("[Q]", "[D]"), architecture))
    folder = save_stanford(tmp_path / "checkpoint", tokenizer_json, architecture, "roberta", attend_to_mask_tokens=True)
    code = {"AutoModel": "jinaai/xlm-roberta-flash-implementation--modeling_xlm_roberta.XLMRobertaModel"}
    update_json(folder / "config.json", auto_map=code, rotary_emb_base=20000.0, model_type="xlm-roberta")
    model = open_model(build_engine(folder, tmp_path / "engine"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    first, *rest = tokenizer.encode("Who, what").ids
    query = [first, tokenizer.token_to_id("[Q]"), *rest]
    query += [tokenizer.token_to_id("[MASK]")] * (16 - len(query))
    document = [first, tokenizer.token_to_id("[D]"), *rest]
    vectors = [hidden_states(ids) @ projection().T for ids in (query, document)]
    vectors = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in vectors]
    [found] = model.token_embeddings(["Who, what"], is_query=True)
    np.testing.assert_allclose(found, vectors[0], atol=1e-5)
    [found] = model.token_embeddings(["Who, what"])
    comma = tokenizer.token_to_id(",")
    np.testing.assert_allclose(found, vectors[1][np.array(document) != comma], atol=1e-5)


def test_stanfords_projection_has_another_size(tmp_path: Path, tokenizer_json: Path) -> None:
    folder = save_stanford(tmp_path / "checkpoint", tokenizer_json, dim=32)
    with pytest.raises(CheckpointError, match=r"linear.weight has the shape \[24, 64\]; config.json says \[32, 64\]"):
        build_engine(folder, tmp_path / "engine")
    write_json(folder / "artifact.metadata", {"query_token_id": None, "similarity": None})  # like none at all
    with pytest.raises(CheckpointError, match=r"the marker '\[unused0\]' is not a token"):
        inspect_checkpoint(folder, None)
    write_json(folder / "artifact.metadata", {"similarity": "l2"})
    with pytest.raises(CheckpointError, match="similarity"):
        inspect_checkpoint(folder, None)
