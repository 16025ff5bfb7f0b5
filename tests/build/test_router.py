"""Routers: an engine for each route, against sentence-transformers; and how a route is chosen."""

import json
from pathlib import Path
from typing import Any

import pytest

from openbei.build.modules import read_chain
from openbei.errors import CheckpointError
from tests.checkpoint import build_engine, write_json
from tests.same_embedding import worst_cosine
from tests.sentence_chain import TEXTS, embed, encode_each, randomize, save, transformer

MODELS = "sentence_transformers.models"


@pytest.fixture(scope="module")
def m() -> Any:
    """The modules of sentence-transformers."""
    from sentence_transformers.sentence_transformer import modules

    return modules


@pytest.fixture(scope="module")
def router_after_pooling(m: Any, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model with a Router after the pooling. Read only."""
    folder = tmp_path_factory.mktemp("router")
    routes = {
        "query": [randomize(m.Dense(64, 40), 1)],
        "document": [randomize(m.Dense(64, 40), 2), randomize(m.LayerNorm(40))],
    }
    router = m.Router(routes, default_route="document")
    return folder, save(folder, [transformer(tiny_checkpoint), m.Pooling(64), router, m.Normalize()])


@pytest.mark.parametrize("route", ["query", "document"])
def test_routes_after_the_pooling(route: str, router_after_pooling: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = router_after_pooling
    engine_dir = build_engine(folder, tmp_path / "engine", route=route)
    expected = encode_each(model, TEXTS, task=route)
    other = encode_each(model, TEXTS, task="query" if route == "document" else "document")
    assert worst_cosine(expected, other) < 0.9, "routes must differ, or the comparison proves nothing"
    assert worst_cosine(embed(engine_dir, TEXTS), expected) >= 0.99999
    decisions = {decision.subject: (decision.decision, decision.reason) for decision in engine_dir.manifest.report}
    assert decisions["route"][0] == route
    assert "--route" in decisions["route"][1]


@pytest.mark.parametrize("route", ["query", "document"])
def test_routes_with_transformers(
    route: str, m: Any, tiny_checkpoint: Path, make_checkpoint: Any, tmp_path: Path
) -> None:
    router = m.Router.for_query_document(
        [transformer(make_checkpoint(seed=4)), m.Pooling(64, "cls")], [transformer(tiny_checkpoint), m.Pooling(64)]
    )
    model = save(tmp_path / "model", [router, m.Normalize()])
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine", route=route)
    assert worst_cosine(embed(engine_dir, TEXTS), encode_each(model, TEXTS, task=route)) >= 0.99999
    assert engine_dir.manifest.normalize


def test_the_default_route(router_after_pooling: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = router_after_pooling
    engine_dir = build_engine(folder, tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), encode_each(model, TEXTS)) >= 0.99999
    [decision] = [decision for decision in engine_dir.manifest.report if decision.subject == "route"]
    assert decision.decision == "document"
    assert decision.reason == "default_route of router_config.json; other routes: query"


OVERRIDES: dict[str, tuple[tuple[str, str], dict[Any, str], str]] = {
    "of a text": (("query", "document"), {(None, "text"): "query", (None, None): "document"}, "route_mappings"),
    "of anything": (("query", "document"), {(None, None): "query", ("query", "text"): "document"}, "route_mappings"),
    "of another task": (("query", "text"), {("query", None): "query"}, "structure"),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_overrides_of_default_route(name: str, m: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (first, second), mappings, key = OVERRIDES[name]
    routes = {first: [randomize(m.Dense(64, 40), 1)], second: [randomize(m.Dense(64, 40), 2)]}
    selected = "text" if "text" in routes else "query"
    [other] = routes.keys() - {selected}
    router = m.Router(routes, default_route=other, route_mappings=mappings)
    model = save(tmp_path / "model", [transformer(tiny_checkpoint), m.Pooling(64), router])
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), encode_each(model, TEXTS)) >= 0.99999
    [decision] = [decision for decision in engine_dir.manifest.report if decision.subject == "route"]
    assert (decision.decision, decision.reason) == (selected, f"{key} of router_config.json; other routes: {other}")


def write_router(folder: Path, name: str = "router_config.json", **changes: Any) -> Path:
    """Write the JSON files of an Asym whose route for queries is not supported."""
    content = {
        "types": {
            "q_WordEmbeddings": f"{MODELS}.WordEmbeddings",
            "d_Transformer": f"{MODELS}.Transformer",
            "d_Pooling": f"{MODELS}.Pooling",
        },
        "structure": {"query": ["q_WordEmbeddings"], "document": ["d_Transformer", "d_Pooling"]},
        "parameters": {"allow_empty_key": True},
    } | changes
    write_json(folder / "modules.json", [{"path": "0_Asym", "type": f"{MODELS}.Asym"}])
    write_json(folder / "0_Asym" / name, content)
    return folder


@pytest.mark.parametrize("name", ["config.json", "router_config.json"])
def test_other_routes_are_ignored(name: str, tmp_path: Path) -> None:
    chain = read_chain(write_router(tmp_path, name), "document")
    assert chain.root == tmp_path / "0_Asym/d_Transformer"
    assert chain.pooling_file == tmp_path / "0_Asym/d_Pooling/config.json"
    with pytest.raises(CheckpointError, match="is the chain WordEmbeddings; supported: "):
        read_chain(tmp_path, "query")


def test_a_single_route_is_the_default(tmp_path: Path) -> None:
    [decision] = read_chain(write_router(tmp_path, structure={"text": ["d_Transformer", "d_Pooling"]})).decisions
    assert (decision.decision, decision.reason) == ("text", "the only route in router_config.json; other routes: none")


def test_a_route_is_required(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="no default route; routes: query, document\nhint: bei build --route NAME"
    ):
        read_chain(write_router(tmp_path))
    with pytest.raises(CheckpointError, match="there is no route 'image'; routes: query, document"):
        read_chain(tmp_path, "image")
    write_router(tmp_path, parameters={"default_route": "image"})
    with pytest.raises(CheckpointError, match="there is no route 'image'"):
        read_chain(tmp_path)


def test_refuses(checkpoint_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no Router; --route is 'query'\nhint: omit --route"):
        read_chain(checkpoint_copy, "query")
    write_router(tmp_path, types={})
    with pytest.raises(CheckpointError, match="types has no class for d_Transformer, d_Pooling"):
        read_chain(tmp_path, "document")
    write_router(tmp_path, types={"../up": f"{MODELS}.Transformer"}, structure={"document": ["../up"]})
    with pytest.raises(CheckpointError, match=r"the path '\.\./up' is outside of the checkpoint"):
        read_chain(tmp_path, "document")
    write_json(tmp_path / "0_Asym/router_config.json", {"types": {}})
    with pytest.raises(CheckpointError, match=r"router_config.json: .*structure"):
        read_chain(tmp_path)


def test_format_of_saved_routers(router_after_pooling: tuple[Path, Any]) -> None:
    """`write_router` writes this format by hand."""
    content = json.loads((router_after_pooling[0] / "2_Router/router_config.json").read_text())
    assert set(content) == {"types", "structure", "parameters"}
    assert content["parameters"]["default_route"] == "document"
