"""Tables without a layer, judged by sentence-transformers: dense ones, model2vec's, and weights behind a Router."""

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
from tests.families.parity import error
from tests.same_embedding import worst_cosine
from tests.sentence_chain import TEXTS, embed, judged, lively, save

DIMENSIONS = 40
SINGLE_FILE = "model.safetensors"


@pytest.fixture(scope="module")
def m() -> Any:
    """The namespace of modules."""
    from sentence_transformers.sentence_transformer import modules

    return modules


def table(m: Any, tokenizer_json: Path, *, truncates_to: int | None = None) -> Any:
    """A StaticEmbedding of random vectors."""
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.no_truncation()
    if truncates_to:
        tokenizer.enable_truncation(truncates_to)
    rows = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), DIMENSIONS), dtype=np.float32)
    return m.StaticEmbedding(tokenizer, embedding_weights=rows)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("behind", ["nothing", "a norm", "a map"])
def test_means_of_vectors(behind: str, backend: str, m: Any, tokenizer_json: Path, tmp_path: Path) -> None:
    after = {"nothing": [], "a norm": [m.Normalize()], "a map": [lively(m.Dense(DIMENSIONS, 24)), m.Normalize()]}
    model = save(tmp_path / "model", [table(m, tokenizer_json), *after[behind]])
    expected = judged(model, TEXTS)
    found = embed(build_engine(tmp_path / "model", tmp_path / "engine"), TEXTS, backend=backend)
    assert worst_cosine(found, expected) >= 0.99999
    assert error(found, expected) < 1e-4  # lengths, too, where nothing is normalized
    narrow = embed(build_engine(tmp_path / "model", tmp_path / "narrow", dtype="bfloat16"), TEXTS, backend=backend)
    assert worst_cosine(narrow, expected) >= 0.999


def test_the_tokenizer_is_followed(m: Any, tokenizer_json: Path, tmp_path: Path) -> None:
    """It cuts where its file says so, and puts nothing around a text."""
    model = save(tmp_path / "model", [table(m, tokenizer_json, truncates_to=7)], prompts={"query": "asked: "})
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert engine_dir.manifest.max_sequence_tokens == 7
    assert worst_cosine(embed(engine_dir, TEXTS), judged(model, TEXTS)) >= 0.99999
    prompted = judged(model, TEXTS, prompt_name="query")
    assert worst_cosine(embed(engine_dir, TEXTS, prompt_name="query"), prompted) >= 0.99999
    decisions = {decision.subject: decision for decision in engine_dir.manifest.report}
    assert decisions["family"].reason == "modules.json has the module StaticEmbedding"
    assert decisions["max_sequence_tokens"].reason == "truncation of tokenizer.json"
    with pytest.raises(InputError, match="has no tokens"):
        embed(engine_dir, [""])


def test_files_of_model2vec(m: Any, tokenizer_json: Path, tmp_path: Path) -> None:
    """They lie in the repository's root, and the table has another name."""
    model = save(tmp_path / "model", [table(m, tokenizer_json), m.Normalize()])
    [path] = (tmp_path / "model").rglob(SINGLE_FILE)
    rows = load_file(path)["embedding.weight"]
    save_file({"embeddings": rows}, path)
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), judged(model, TEXTS)) >= 0.99999
    save_file({"embeddings": rows[:, 0].copy()}, path)
    with pytest.raises(CheckpointError, match=r"embeddings has the shape \[\d+\], which is not a StaticEmbedding's"):
        build_engine(tmp_path / "model", tmp_path / "engine")
    save_file({"vectors": rows}, path)
    with pytest.raises(CheckpointError, match=r"has no tensor embedding\.weight or embeddings, a StaticEmbedding's"):
        build_engine(tmp_path / "model", tmp_path / "engine")


@pytest.mark.parametrize("of_tokens", [("mapping",), ("weights",), ("mapping", "weights")], ids=" and ".join)
def test_rows_that_tokens_share(of_tokens: tuple[str, ...], m: Any, tokenizer_json: Path, tmp_path: Path) -> None:
    """model2vec's quantized vocabularies, which sentence-transformers folds when it loads them."""
    from sentence_transformers import SentenceTransformer

    save(tmp_path / "model", [table(m, tokenizer_json), m.Normalize()])
    [path] = (tmp_path / "model").rglob(SINGLE_FILE)
    rows, rng = load_file(path)["embedding.weight"], np.random.default_rng(1)
    given = {"mapping": rng.integers(0, 60, len(rows)), "weights": rng.uniform(0.1, 3.0, len(rows))}
    tensors = {
        "embeddings": rows[: 60 if "mapping" in of_tokens else None],
        **{name: given[name] for name in of_tokens},
    }
    save_file(tensors, path)
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu", local_files_only=True)
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), judged(model, TEXTS)) >= 0.99999


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"mapping": np.full(7, 60)}, r"tokenizer\.json: token .*; the model's vocabulary ends at 6"),
        ({"mapping": [60]}, "mapping has numbers from 60 to 60; the table has 60 rows"),
        ({"weights": np.array(1.0)}, r"tokenizer\.json: token .*; the model's vocabulary ends at 0"),
        ({"mapping": [0], "weights": [1.0, 2.0]}, r"tensor weights has the shape"),
        ({"mapping": [0], "weights": [np.nan]}, "numbers for embeddings.token are not all finite"),
        ({"bias": [0.0]}, "has tensors that static has no place for: bias"),
    ],
    ids=["few", "beyond", "scalar", "lengths", "nan", "others"],
)
def test_refuses_other_tables(
    tensors: dict[str, Any], problem: str, m: Any, tokenizer_json: Path, tmp_path: Path
) -> None:
    save(tmp_path / "model", [table(m, tokenizer_json)])
    [path] = (tmp_path / "model").rglob(SINGLE_FILE)
    rows = load_file(path)["embedding.weight"]
    spoilt = {name: np.repeat(one, len(rows)) if isinstance(one, list) else one for name, one in tensors.items()}
    save_file({"embeddings": rows[:60] if "mapping" in tensors else rows, **spoilt}, path)
    with pytest.raises(CheckpointError, match=problem):
        build_engine(tmp_path / "model", tmp_path / "engine")


@pytest.fixture(scope="module")
def inference_free(tokenizer_json: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A SPLADE whose queries need no transformer, as OpenSearch's. Read only."""
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


def weigh(engine_dir: EngineDir, backend: str, texts: list[str]) -> tuple[SparseVectors, Vectors]:
    """Term weights as they are and as rows of the vocabulary's width."""
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
    sparse, found = weigh(engine_dir, backend, TEXTS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert all(np.all(np.diff(sparse[i : i + 1].indices) > 0) for i in range(len(TEXTS)))


def test_weights_of_a_query(inference_free: tuple[Path, Any], tmp_path: Path) -> None:
    """A token counts once however often it comes, one without weight is no term, and nothing is around a text."""
    folder, _ = inference_free
    engine_dir = build_engine(folder, tmp_path / "engine", route="query", dtype="bfloat16")
    assert engine_dir.manifest.dtype == "float32"  # weights are exact, and few
    sparse, dense = weigh(engine_dir, "native", ["a a a", "a"])
    np.testing.assert_array_equal(dense[0], dense[1])
    [path] = [path for path in folder.rglob(SINGLE_FILE) if "Static" in str(path.parent)]
    weights = load_file(path)["weight"]
    ids = ServingTokenizer.open(engine_dir).encode(["a"])[0].token_ids
    assert {int(i) for i in sparse[:1].indices} == {int(i) for i in ids if weights[i]}
    np.testing.assert_array_equal(dense[0][ids], weights[ids])


def test_refuses_another_chain(inference_free: tuple[Path, Any], tmp_path: Path) -> None:
    router = json.loads((inference_free[0] / "router_config.json").read_text())
    assert router["structure"]["query"] == ["query_0_SparseStaticEmbedding"]
    (tmp_path / "modules.json").write_text(
        json.dumps(
            [{"path": "", "type": f"sentence_transformers.models.{kind}"} for kind in ("StaticEmbedding", "CNN")]
        )
    )
    with pytest.raises(CheckpointError, match=r"is the chain StaticEmbedding, CNN; implemented are: .*SparseStaticEmb"):
        build_engine(tmp_path, tmp_path / "engine")
