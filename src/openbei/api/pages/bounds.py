"""Constraints of fields in the OpenAPI document: the limits of this server and its models."""

from collections.abc import Iterable
from typing import Any

from openbei.api.dialects.vertex import native_route
from openbei.api.service import ServerState
from openbei.prompts import INPUT_TYPES, PURPOSES

Schema = dict[str, Any]


def bounds(server: ServerState, schema_of: dict[Any, Schema]) -> dict[str, Schema]:
    """`fields.bound` -> its schema; `schema_of` has the schemas of all requests.

    With several models, a schema allows what any of them allows.
    """
    models = [service.model for service in server.services.values()]
    manifests, most = [model.manifest for model in models], server.limits.max_client_batch_size
    prompts = dict.fromkeys(name for model in models for name in model.prompts.by_name)
    is_instructed = any(manifest.score_template and manifest.score_template.is_instructed for manifest in manifests)
    vocab_size = max(manifest.spec.vocab_size for manifest in manifests)
    max_tokens = max(manifest.max_sequence_tokens for manifest in manifests)
    text = {"type": "string", "minLength": 1}
    texts = _array(text, most)
    token_ids = _array({"type": "integer", "minimum": 0, "maximum": vocab_size - 1})
    return {
        "text": text,
        "texts": {"minItems": 1, "maxItems": most},
        "sentences": {"minItems": 1, "maxItems": most - 1},
        "inputs": {"anyOf": [text, texts, token_ids, _array(token_ids, most)]},
        "predict": {"anyOf": [text, _array(text, 2), _array(_array(text, 2), most)]},
        "predict_tokens": {"anyOf": [text, texts, _array(texts, most)]},
        "ids": {"items": {}, "anyOf": [token_ids, _array(token_ids | {"minItems": 0}, most)]},
        "instances": _array(_native(server, schema_of), most),
        "dimensions": {"minimum": 1, "maximum": max(manifest.spec.output_width for manifest in manifests)},
        "prompt_name": _names(prompts),
        "input_type": _names(INPUT_TYPES),
        "instruction": {} if is_instructed else {"type": "null"},
        "count": {"minimum": 0},
        "max_tokens": {"anyOf": [{"const": -1}, {"minimum": 1, "maximum": max_tokens}]},
        "kept": {"minimum": 1, "maximum": max_tokens},
        "task": _names(PURPOSES),
        "positive": {"minimum": 1},
        "some": {"minItems": 1},
        "at_most_one": {"maxItems": 1},
        "one": {"minItems": 1, "maxItems": 1},
    }


def bounded(schema: Schema, limits: dict[str, Schema]) -> Schema:
    """A schema with its markers replaced by their schemas."""
    plain = {key: _bounded(value, limits) for key, value in schema.items() if key != "x-bound"}
    return plain | limits[schema["x-bound"]] if "x-bound" in schema else plain


def _bounded(value: object, limits: dict[str, Schema]) -> object:
    if isinstance(value, dict):
        return bounded(value, limits)
    return [_bounded(item, limits) for item in value] if isinstance(value, list | tuple) else value


def any_of(part: object, schema_of: dict[Any, Schema]) -> Schema:
    """The schema of a route's request or response."""
    schemas = [schema_of[kind] for kind in kinds_of(part)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas} if schemas else {}


def kinds_of(part: object) -> tuple[Any, ...]:
    """The types that a route's request or response may be."""
    return part if isinstance(part, tuple) else (part,) if part else ()


def _array(items: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": items, "minItems": 1} | ({} if most is None else {"maxItems": most})


def _names(names: Iterable[str]) -> Schema:
    """A schema for one of the names; only null without names."""
    return {"enum": list(names)} if names else {"type": "null"}


def _native(server: ServerState, schema_of: dict[Any, Schema]) -> Schema:
    """The schema of an instance of /vertex."""
    requests = [native_route(service).request for service in server.services.values()]
    return any_of(tuple(dict.fromkeys(kind for request in requests for kind in kinds_of(request))), schema_of)
