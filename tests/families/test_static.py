"""Static embeddings against sentence-transformers: dense, model2vec's, and sparse weights behind a Router."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from openbei.backends import load_engine
from openbei.batch import PackedBatch, SparseVectors, Vectors
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError, InputError
from openbei.serving.tokenizer import Tokenizer as ServingTokenizer
from tests.checkpoint import build_engine, save_model
from tests.dense_rows import dense_rows
from tests.families.parity import relative_error
from tests.same_embedding import worst_cosine
from tests.sentence_chain import TEXTS, embed, encode_each, randomize, save

DIMENSIONS = 40
SINGLE_FILE = "model.safetensors"


@pytest.fixture(scope="module")
def m() -> Any:
    """The modules of sentence-transformers."""
    from sentence_transformers.sentence_transformer import modules

    return modules


def table(m: Any, tokenizer_json: Path, *, truncates_to: int | None = None) -> Any:
    """A StaticEmbedding with random vectors."""
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.no_truncation()
    if truncates_to:
        tokenizer.enable_truncation(truncates_to)
    rows = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), DIMENSIONS), dtype=np.float32)
    return m.StaticEmbedding(tokenizer, embedding_weights=rows)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("chain", ["StaticEmbedding", "Normalize", "Dense and Normalize"])
def test_mean_of_token_vectors(chain: str, backend: str, m: Any, tokenizer_json: Path, tmp_path: Path) -> None:
    after = {
        "StaticEmbedding": [],
        "Normalize": [m.Normalize()],
        "Dense and Normalize": [randomize(m.Dense(DIMENSIONS, 24)), m.Normalize()],
    }
    model = save(tmp_path / "model", [table(m, tokenizer_json), *after[chain]])
    expected = encode_each(model, TEXTS)
    found = embed(build_engine(tmp_path / "model", tmp_path / "engine"), TEXTS, backend=backend)
    assert worst_cosine(found, expected) >= 0.99999
    assert relative_error(found, expected) < 1e-4  # unlike a cosine, includes lengths
    bf16_dir = build_engine(tmp_path / "model", tmp_path / "bfloat16", dtype="bfloat16")
    assert worst_cosine(embed(bf16_dir, TEXTS, backend=backend), expected) >= 0.999


def test_tokenization(m: Any, tokenizer_json: Path, tmp_path: Path) -> None:
    """tokenizer.json defines the truncation, and no special tokens are added."""
    model = save(tmp_path / "model", [table(m, tokenizer_json, truncates_to=7)], prompts={"query": "asked: "})
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert engine_dir.manifest.max_sequence_tokens == 7
    assert worst_cosine(embed(engine_dir, TEXTS), encode_each(model, TEXTS)) >= 0.99999
    prompted = encode_each(model, TEXTS, prompt_name="query")
    assert worst_cosine(embed(engine_dir, TEXTS, prompt_name="query"), prompted) >= 0.99999
    decisions = {decision.subject: decision for decision in engine_dir.manifest.report}
    assert decisions["family"].reason == "module of modules.json: StaticEmbedding"
    assert decisions["max_sequence_tokens"].reason == "truncation of tokenizer.json"
    with pytest.raises(InputError, match="has no tokens"):
        embed(engine_dir, [""])


def test_files_of_model2vec(m: Any, tokenizer_json: Path, tmp_path: Path) -> None:
    """They are in the repository's root, and the table has another name."""
    model = save(tmp_path / "model", [table(m, tokenizer_json), m.Normalize()])
    [path] = (tmp_path / "model").rglob(SINGLE_FILE)
    rows = load_file(path)["embedding.weight"]
    save_file({"embeddings": rows}, path)
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), encode_each(model, TEXTS)) >= 0.99999
    save_file({"embeddings": rows[:, 0].copy()}, path)
    with pytest.raises(CheckpointError, match=r"embeddings has the shape \[\d+\]; StaticEmbedding needs 2 dimensions"):
        build_engine(tmp_path / "model", tmp_path / "engine")
    save_file({"vectors": rows}, path)
    with pytest.raises(CheckpointError, match=r"StaticEmbedding needs a tensor named embedding\.weight or embeddings"):
        build_engine(tmp_path / "model", tmp_path / "engine")


@pytest.mark.parametrize("per_token", [("mapping",), ("weights",), ("mapping", "weights")], ids=" and ".join)
def test_rows_shared_by_tokens(per_token: tuple[str, ...], m: Any, tokenizer_json: Path, tmp_path: Path) -> None:
    """model2vec's quantized vocabularies, which sentence-transformers expands at load."""
    from sentence_transformers import SentenceTransformer

    save(tmp_path / "model", [table(m, tokenizer_json), m.Normalize()])
    [path] = (tmp_path / "model").rglob(SINGLE_FILE)
    rows, rng = load_file(path)["embedding.weight"], np.random.default_rng(1)
    tensors = {"mapping": rng.integers(0, 60, len(rows)), "weights": rng.uniform(0.1, 3.0, len(rows))}
    tensors = {
        "embeddings": rows[: 60 if "mapping" in per_token else None],
        **{name: tensors[name] for name in per_token},
    }
    save_file(tensors, path)
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu", local_files_only=True)
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), encode_each(model, TEXTS)) >= 0.99999


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"mapping": np.full(7, 60)}, r"tokenizer\.json: token .*; the model's vocabulary ends at 6"),
        ({"mapping": [60]}, "mapping has indices from 60 to 60; the table has 60 rows"),
        ({"weights": np.array(1.0)}, r"tokenizer\.json: token .*; the model's vocabulary ends at 0"),
        ({"mapping": [0], "weights": [1.0, 2.0]}, r"tensor weights has the shape"),
        ({"mapping": [0], "weights": [np.nan]}, "numbers for embeddings.token are not all finite"),
        ({"bias": [0.0]}, "has tensors that static has no place for: bias"),
    ],
    ids=["few", "beyond", "scalar", "lengths", "nan", "others"],
)
def test_refuses_invalid_tables(
    tensors: dict[str, Any], problem: str, m: Any, tokenizer_json: Path, tmp_path: Path
) -> None:
    save(tmp_path / "model", [table(m, tokenizer_json)])
    [path] = (tmp_path / "model").rglob(SINGLE_FILE)
    rows = load_file(path)["embedding.weight"]
    invalid = {name: np.repeat(one, len(rows)) if isinstance(one, list) else one for name, one in tensors.items()}
    save_file({"embeddings": rows[:60] if "mapping" in tensors else rows, **invalid}, path)
    with pytest.raises(CheckpointError, match=problem):
        build_engine(tmp_path / "model", tmp_path / "engine")


@pytest.fixture(scope="module")
def inference_free(tokenizer_json: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A SPLADE model like OpenSearch's whose queries need no transformer. Read only."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sentence_transformer.modules import Router
    from sentence_transformers.sparse_encoder import modules

    folder = tmp_path_factory.mktemp("inference-free")
    mlm = modules.MLMTransformer(str(save_model(folder / "mlm", tokenizer_json, "BertForMaskedLM")))
    weights = torch.rand(len(mlm.tokenizer), generator=torch.Generator().manual_seed(0)) * 5
    weights[::7] = 0.0
    query = modules.SparseStaticEmbedding(mlm.tokenizer, weight=weights)
    router = Router.for_query_document([query], [mlm, modules.SpladePooling("max")])
    SparseEncoder(modules=[router], device="cpu").save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model", SparseEncoder(str(folder / "model"), device="cpu", local_files_only=True)


def term_weights(engine_dir: EngineDir, backend: str, texts: list[str]) -> tuple[SparseVectors, Vectors]:
    """Term weights, sparse and dense."""
    sequences = ServingTokenizer.open(engine_dir).encode(texts)
    sparse = cast(SparseVectors, load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences)))
    return sparse, dense_rows(sparse)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("route", ["query", "document"])
def test_routes_of_an_inference_free_splade(
    route: str, backend: str, inference_free: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, model = inference_free
    engine_dir = build_engine(folder, tmp_path / "engine", route=route)
    assert engine_dir.manifest.spec.task == "sparse"
    assert engine_dir.manifest.default_route == "/embed_sparse"
    encode = model.encode_query if route == "query" else model.encode_document
    expected = np.stack([encode(text, convert_to_tensor=True).to_dense().numpy() for text in TEXTS])
    sparse, found = term_weights(engine_dir, backend, TEXTS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert all(np.all(np.diff(sparse[i : i + 1].indices) > 0) for i in range(len(TEXTS)))


def test_weights_of_a_query(inference_free: tuple[Path, Any], tmp_path: Path) -> None:
    """Repeated tokens count once, tokens with zero weight are omitted, and no special tokens are added."""
    folder, _ = inference_free
    engine_dir = build_engine(folder, tmp_path / "engine", route="query", dtype="bfloat16")
    assert engine_dir.manifest.dtype == "float32"  # the table is small, so weights are kept exact
    sparse, dense = term_weights(engine_dir, "native", ["a a a", "a"])
    np.testing.assert_array_equal(dense[0], dense[1])
    [path] = [path for path in folder.rglob(SINGLE_FILE) if "Static" in str(path.parent)]
    weights = load_file(path)["weight"]
    ids = ServingTokenizer.open(engine_dir).encode(["a"])[0].token_ids
    assert {int(i) for i in sparse[:1].indices} == {int(i) for i in ids if weights[i]}
    np.testing.assert_array_equal(dense[0][ids], weights[ids])


def test_refuses_an_unknown_chain(inference_free: tuple[Path, Any], tmp_path: Path) -> None:
    router = json.loads((inference_free[0] / "router_config.json").read_text())
    assert router["structure"]["query"] == ["query_0_SparseStaticEmbedding"]
    (tmp_path / "modules.json").write_text(
        json.dumps(
            [{"path": "", "type": f"sentence_transformers.models.{kind}"} for kind in ("StaticEmbedding", "CNN")]
        )
    )
    with pytest.raises(CheckpointError, match=r"is the chain StaticEmbedding, CNN; supported: .*SparseStaticEmb"):
        build_engine(tmp_path, tmp_path / "engine")
