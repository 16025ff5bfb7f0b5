"""Routers: each route is an engine of its own, judged by sentence-transformers; and how a route is chosen."""

import json
from pathlib import Path
from typing import Any

import pytest

from openbei.build.modules import read_chain
from openbei.errors import CheckpointError
from tests.checkpoint import build_engine, write_json
from tests.same_embedding import worst_cosine
from tests.sentence_chain import TEXTS, embed, judged, lively, save, transformer

MODELS = "sentence_transformers.models"


@pytest.fixture(scope="module")
def m() -> Any:
    """The namespace of modules."""
    from sentence_transformers.sentence_transformer import modules

    return modules


@pytest.fixture(scope="module")
def behind(m: Any, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model whose routes part after the pooling. Read only."""
    folder = tmp_path_factory.mktemp("behind")
    routes = {"query": [lively(m.Dense(64, 40), 1)], "document": [lively(m.Dense(64, 40), 2), lively(m.LayerNorm(40))]}
    router = m.Router(routes, default_route="document")
    return folder, save(folder, [transformer(tiny_checkpoint), m.Pooling(64), router, m.Normalize()])


@pytest.mark.parametrize("route", ["query", "document"])
def test_routes_after_the_pooling(route: str, behind: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = behind
    engine_dir = build_engine(folder, tmp_path / "engine", route=route)
    expected = judged(model, TEXTS, task=route)
    other = judged(model, TEXTS, task="query" if route == "document" else "document")
    assert worst_cosine(expected, other) < 0.9, "routes must differ, or the next line says nothing"
    assert worst_cosine(embed(engine_dir, TEXTS), expected) >= 0.99999
    decisions = {decision.subject: (decision.decision, decision.reason) for decision in engine_dir.manifest.report}
    assert decisions["route"][0] == route
    assert "asked for by --route" in decisions["route"][1]


@pytest.mark.parametrize("route", ["query", "document"])
def test_routes_around_the_transformer(
    route: str, m: Any, tiny_checkpoint: Path, make_checkpoint: Any, tmp_path: Path
) -> None:
    router = m.Router.for_query_document(
        [transformer(make_checkpoint(seed=4)), m.Pooling(64, "cls")], [transformer(tiny_checkpoint), m.Pooling(64)]
    )
    model = save(tmp_path / "model", [router, m.Normalize()])
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine", route=route)
    assert worst_cosine(embed(engine_dir, TEXTS), judged(model, TEXTS, task=route)) >= 0.99999
    assert engine_dir.manifest.normalize


def test_the_default_route(behind: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = behind
    engine_dir = build_engine(folder, tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), judged(model, TEXTS)) >= 0.99999
    [decision] = [decision for decision in engine_dir.manifest.report if decision.subject == "route"]
    assert decision.decision == "document"
    assert decision.reason == "default_route of router_config.json; others: query"


BEFORE_THE_DEFAULT: dict[str, tuple[tuple[str, str], dict[Any, str], str]] = {
    "of a text": (("query", "document"), {(None, "text"): "query", (None, None): "document"}, "route_mappings"),
    "of anything": (("query", "document"), {(None, None): "query", ("query", "text"): "document"}, "route_mappings"),
    "of another task": (("query", "text"), {("query", None): "query"}, "structure"),
}


@pytest.mark.parametrize("name", BEFORE_THE_DEFAULT)
def test_what_goes_before_the_default_route(name: str, m: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (first, second), mappings, key = BEFORE_THE_DEFAULT[name]
    routes = {first: [lively(m.Dense(64, 40), 1)], second: [lively(m.Dense(64, 40), 2)]}
    chosen = "text" if "text" in routes else "query"
    [other] = routes.keys() - {chosen}
    router = m.Router(routes, default_route=other, route_mappings=mappings)
    model = save(tmp_path / "model", [transformer(tiny_checkpoint), m.Pooling(64), router])
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), judged(model, TEXTS)) >= 0.99999
    [decision] = [decision for decision in engine_dir.manifest.report if decision.subject == "route"]
    assert (decision.decision, decision.reason) == (chosen, f"{key} of router_config.json; others: {other}")


def router(folder: Path, name: str = "router_config.json", **changes: Any) -> Path:
    """A Router of an older shape around the transformer: a query is an average of words, which is not implemented."""
    content = {
        "types": {"q_WordEmbeddings": f"{MODELS}.WordEmbeddings", "d_Transformer": f"{MODELS}.Transformer",
                  "d_Pooling": f"{MODELS}.Pooling"},
        "structure": {"query": ["q_WordEmbeddings"], "document": ["d_Transformer", "d_Pooling"]},
        "parameters": {"allow_empty_key": True},
    } | changes  # fmt: skip
    write_json(folder / "modules.json", [{"path": "0_Asym", "type": f"{MODELS}.Asym"}])
    write_json(folder / "0_Asym" / name, content)
    return folder


@pytest.mark.parametrize("name", ["config.json", "router_config.json"])
def test_the_other_route_is_not_looked_at(name: str, tmp_path: Path) -> None:
    chain = read_chain(router(tmp_path, name), "document")
    assert chain.root == tmp_path / "0_Asym/d_Transformer"
    assert chain.pooling_file == tmp_path / "0_Asym/d_Pooling/config.json"
    with pytest.raises(CheckpointError, match="is the chain WordEmbeddings; implemented are: "):
        read_chain(tmp_path, "query")


def test_a_single_route_needs_no_choice(tmp_path: Path) -> None:
    [decision] = read_chain(router(tmp_path, structure={"text": ["d_Transformer", "d_Pooling"]})).decisions
    assert (decision.decision, decision.reason) == ("text", "the only one of router_config.json; others: none")


def test_a_route_has_to_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is one of its routes: query, document\nhint: bei build --route NAME"):
        read_chain(router(tmp_path))
    with pytest.raises(CheckpointError, match="'image' is none of its routes: query, document"):
        read_chain(tmp_path, "image")
    router(tmp_path, parameters={"default_route": "image"})
    with pytest.raises(CheckpointError, match="'image' is none of its routes"):
        read_chain(tmp_path)


def test_refuses(spoilt_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no Router; the route 'query' was asked for\nhint: leave --route"):
        read_chain(spoilt_checkpoint, "query")
    router(tmp_path, types={})
    with pytest.raises(CheckpointError, match="types does not say what d_Transformer, d_Pooling is"):
        read_chain(tmp_path, "document")
    router(tmp_path, types={"../up": f"{MODELS}.Transformer"}, structure={"document": ["../up"]})
    with pytest.raises(CheckpointError, match=r"the path '\.\./up' leaves the checkpoint"):
        read_chain(tmp_path, "document")
    write_json(tmp_path / "0_Asym/router_config.json", {"types": {}})
    with pytest.raises(CheckpointError, match=r"router_config.json: .*structure"):
        read_chain(tmp_path)


def test_what_sentence_transformers_writes(behind: tuple[Path, Any]) -> None:
    """The shape that the other tests write by hand."""
    content = json.loads((behind[0] / "2_Router/router_config.json").read_text())
    assert set(content) == {"types", "structure", "parameters"}
    assert content["parameters"]["default_route"] == "document"
