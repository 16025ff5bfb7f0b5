"""The tables of docs/configuration.md: every key of a config.yaml that is honoured, without effect, or refused."""

from collections.abc import Iterator
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec

from openbei.checkpoints import REFUSED_SOURCES, SOURCES
from openbei.config import DEFAULT_MAX_NUM_TOKENS
from openbei.quantization import OTHERS, QUANTIZATIONS
from openbei.truss import REFUSED, WITHOUT_EFFECT, Config, Section
from tools.reference.markdown import code, table

MEANING = {
    "model_name": "name of the model in responses; by default the `repo`, or the name of its folder",
    "model_metadata": "`example_model_input` becomes the example request at `/docs`; other entries are not read",
    "environment_variables": "options of `bei serve` and of the build, by the names in the "
    "[environment reference](cli.md#environment-variables)",
    "resources.accelerator": "the GPU, such as `H100`, or several: `H100:2`; checked and reported. [The GPU](gpus.md) "
    "of the machine decides what runs",
    "trt_llm.inference_stack": "the inference stack of encoder models",
    "trt_llm.build.base_model": "required. `encoder` for models with causal attention, `encoder_bert` for all others",
    "trt_llm.build.checkpoint_repository.source": "where the checkpoint is: [sources](sources.md)",
    "trt_llm.build.checkpoint_repository.repo": "required. A Hub id, a URL, or for `LOCAL` a folder, relative "
    "to the config",
    "trt_llm.build.checkpoint_repository.revision": "branch, tag or commit on the Hub; only for `HF`",
    "trt_llm.build.checkpoint_repository.runtime_secret_name": "name of the secret with access to the checkpoint: "
    "[secrets](sources.md#secrets)",
    "trt_llm.build.max_num_tokens": "maximum tokens per batch, which also limits the longest text; by default "
    + ", ".join(f"{limit} for {code(name)}" for name, limit in DEFAULT_MAX_NUM_TOKENS.items()),
    "trt_llm.build.max_seq_len": "maximum tokens of a text for sequence classifiers and rerankers; no effect on others",
    "trt_llm.build.quantization_type": "see [quantization](models.md#quantization)",
    "trt_llm.runtime.webserver_default_route": "route that also answers at `/`; by default that of the model's task",
}
"""Key that is honoured -> its meaning. A test holds it against the schema."""

VALUES = {
    "trt_llm.inference_stack": "`v1`",
    "trt_llm.build.base_model": " or ".join(map(code, DEFAULT_MAX_NUM_TOKENS)),
    "trt_llm.build.checkpoint_repository.source": " or ".join(map(code, SOURCES)),
    "trt_llm.build.quantization_type": ", ".join(f"`{name}`" for name in ("no_quant", *QUANTIZATIONS)),
}
"""Key -> its values, where not all that the schema knows are honoured."""


def honoured() -> str:
    """Keys that have an effect."""
    rows = [
        (code(path), VALUES.get(path) or _kind(kind), _default(default), MEANING[path])
        for path, kind, default in leaves(Config)
    ]
    return table(("key", "value", "default", "meaning"), rows)


def without_effect() -> str:
    """Known keys that change nothing, by reason."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in WITHOUT_EFFECT.items():
        by_reason.setdefault(reason, []).append(code(path))
    return table(("keys", "why"), [(", ".join(paths), reason) for reason, paths in by_reason.items()])


def refused() -> str:
    """Known keys that are errors."""
    rows = [(code(path), "any", reason) for path, reason in REFUSED.items()]
    rows += [
        ("`trt_llm.inference_stack`", "`v2`", "the inference stack of text generation"),
        ("`trt_llm.build.base_model`", "`decoder`", "text generation"),
        *(
            ("`trt_llm.build.checkpoint_repository.source`", code(source), reason)
            for source, reason in REFUSED_SOURCES.items()
        ),
    ]
    quantization = "`trt_llm.build.quantization_type`"
    rows += [(quantization, code(name), f"not implemented; {hint}") for name, hint in OTHERS.items()]
    return table(("key", "value", "why"), rows)


def leaves(section: type[Section], prefix: str = "") -> Iterator[tuple[str, object, object]]:
    """Dotted path, type and default of every key that is not a mapping of keys."""
    kinds = get_type_hints(section)
    for field in msgspec.structs.fields(section):
        kind = kinds[field.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from leaves(kind, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", kind, field.default


def _kind(kind: object) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(code, get_args(kind)))
    if get_origin(kind) is dict:
        return "mapping"
    inner = [one for one in get_args(kind) if one is not type(None)]
    if inner:
        return _kind(inner[0])
    return {str: "text", int: "number"}.get(kind, str(kind)) if isinstance(kind, type) else str(kind)


def _default(default: object) -> str:
    return code(str(default)) if isinstance(default, str) else ""
