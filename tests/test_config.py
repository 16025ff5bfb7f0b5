"""Config files and the environment: settings, refusals, and that no key is silently ignored."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml

from openbei import targets
from openbei.config import Deployment, Environment, deployment_for_model, load_config
from openbei.errors import ConfigError
from openbei.truss import REFUSED, WITHOUT_EFFECT, Config, Route

MINIMAL = """
trt_llm:
  inference_stack: v1
  build:
    base_model: encoder_bert
    checkpoint_repository:
      source: HF
      repo: "sentence-transformers/all-MiniLM-L6-v2"
    quantization_type: no_quant
  runtime:
    webserver_default_route: /v1/embeddings
"""

GENERATED = """
model_metadata:
  example_model_input:
    encoding_format: float
    input: text string
    model: model
model_name: BEI-Bert-taylorai-bge-micro-v2-truss-example
python_version: py39
resources:
  accelerator: A10G
  cpu: '1'
  memory: 10Gi
  use_gpu: true
trt_llm:
  build:
    base_model: encoder_bert
    checkpoint_repository:
      repo: TaylorAI/bge-micro-v2
      revision: main
      source: HF
    max_num_tokens: 16384
  runtime:
    webserver_default_route: /v1/embeddings
"""


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "examples").glob("*/config.yaml")), ids=str)
def test_the_examples(path: Path) -> None:
    deployment = load_config(path)
    assert deployment.default_route
    assert deployment.repository.source == "HF"


def test_the_example_input_is_kept(tmp_path: Path) -> None:
    example = {"encoding_format": "float", "input": "text string", "model": "model"}
    assert load(tmp_path, GENERATED).example_input == example
    assert load(tmp_path, minimal()).example_input is None


def load(tmp_path: Path, text: str) -> Deployment:
    (tmp_path / "config.yaml").write_text(text)
    return load_config(tmp_path / "config.yaml")


def minimal(**changes: object) -> str:
    """The minimal config with changed values, by dotted path with `__` for dots; None removes a key."""
    config = yaml.safe_load(MINIMAL)
    for path, value in changes.items():
        *parents, key = path.split("__")
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        section.pop(key, None)
        if value is not None:
            section[key] = value
    return yaml.safe_dump(config)


def test_the_minimal_config(tmp_path: Path) -> None:
    deployment = load(tmp_path, MINIMAL)
    assert deployment.model_name == deployment.repository.repo == "sentence-transformers/all-MiniLM-L6-v2"
    assert (deployment.repository.source, deployment.repository.revision) == ("HF", None)
    assert (deployment.dtype, deployment.max_num_tokens) == (None, 8192)
    assert deployment.default_route == "/v1/embeddings"
    assert [(note.subject, note.reason) for note in deployment.notes] == [
        ("max_num_tokens", "the default of encoder_bert"),
    ]


def test_a_generated_config(tmp_path: Path) -> None:
    deployment = load(tmp_path, GENERATED)
    assert deployment.model_name == "BEI-Bert-taylorai-bge-micro-v2-truss-example"
    assert (deployment.repository.revision, deployment.max_num_tokens) == ("main", 16384)
    without_effect = [note.subject for note in deployment.notes if note.decision == "no effect"]
    assert without_effect == ["python_version", "resources.cpu", "resources.memory", "resources.use_gpu"]
    accelerators = [
        (note.decision, note.reason) for note in deployment.notes if note.subject == "resources.accelerator"
    ]
    assert accelerators == [("A10G", "supports float16, bfloat16")]


def test_the_number_of_gpus(tmp_path: Path) -> None:
    for name, accelerator in (("one", "L4"), ("two", "H100:2"), ("none", None)):
        fields = {"resources__accelerator": accelerator} if accelerator else {}
        (tmp_path / f"{name}.yaml").write_text(minimal(**fields))
    assert targets.read_environment(str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")).num_gpus == 2
    assert targets.read_environment(str(tmp_path / "none.yaml")).num_gpus == 1
    assert targets.read_environment("a/model").num_gpus == 1


def test_an_accelerator_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"resources\.accelerator is 'H1000'(.|\n)*hint: did you mean H100"):
        load(tmp_path, minimal(resources__accelerator="H1000"))


def test_settings(tmp_path: Path) -> None:
    config = minimal(
        environment_variables={"DTYPE": "float32", "ROUTE": "query", "AUTO_TRUNCATE": True, "LOG": 1},
        trt_llm__build__base_model="encoder",
        trt_llm__build__checkpoint_repository__source=None,
        trt_llm__build__num_builder_gpus=4,
        trt_llm__build__lora_adapters={},
        trt_llm__runtime__webserver_default_route=None,
        model_name="mine",
    )
    deployment = load(tmp_path, config)
    assert (deployment.model_name, deployment.dtype, deployment.max_num_tokens) == ("mine", "float32", 16384)
    assert (deployment.default_route, deployment.repository.source) == (None, "HF")
    assert deployment.base_model == "encoder"
    notes = {note.subject: note.decision for note in deployment.notes}
    assert notes["checkpoint_repository.source"] == "HF"
    assert notes["trt_llm.build.num_builder_gpus"] == "no effect"
    assert deployment.route == "query"
    assert notes["environment_variables.LOG"] == "no effect"
    assert notes["environment_variables.AUTO_TRUNCATE"] == "for `bei serve`"


def test_float16(tmp_path: Path) -> None:
    """The build decides what a device does with it."""
    deployment = load(tmp_path, minimal(environment_variables={"DTYPE": "float16"}))
    assert deployment.dtype == "float16"
    [note] = [note for note in deployment.notes if note.subject == "dtype"]
    assert (note.decision, note.reason) == ("float16", "environment_variables.DTYPE")
    assert Environment.read({"DTYPE": "float16"}).dtype == "float16"


def test_a_local_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    repository = {"source": "LOCAL", "repo": "../models/mine"}
    deployment = load(tmp_path, minimal(trt_llm__build__checkpoint_repository=repository))
    assert Path(deployment.repository.repo) == tmp_path.parent / "models/mine"
    assert deployment.model_name == "mine"


@pytest.mark.parametrize("value", [65, 1048576])
def test_token_budgets_up_to_the_limits(value: int, tmp_path: Path) -> None:
    assert load(tmp_path, minimal(trt_llm__build__max_num_tokens=value)).max_num_tokens == value


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (
        {"trt_llm__build__max_num_token": 100},
        "unknown key: trt_llm.build.max_num_token\nhint: did you mean trt_llm.build.max_num_tokens?",
    ),
    "unknown key at the top": ({"nonsense_xyz": 1}, "unknown key: nonsense_xyz$"),
    "two unknown keys": ({"aaaa": 1, "trt_llm__bbbb": 1}, "unknown key: .*(trt_llm.bbbb, aaaa|aaaa, trt_llm.bbbb)"),
    "empty unknown key": ({"trt_llm__runtime__route": {}}, "unknown key: trt_llm.runtime.route"),
    "no trt_llm": ({"trt_llm": None}, "missing required field `trt_llm`"),
    "no base_model": ({"trt_llm__build__base_model": None}, "base_model is missing: encoder or encoder_bert"),
    "decoder": ({"trt_llm__build__base_model": "decoder"}, "is 'decoder'.*\nhint: .*text generation"),
    "other base_model": ({"trt_llm__build__base_model": "whisper"}, "is 'whisper'; it must be encoder or encoder_bert"),
    "v2": ({"trt_llm__inference_stack": "v2"}, "inference_stack is 'v2'"),
    "smooth_quant on a GPU": (
        {"trt_llm__build__quantization_type": "smooth_quant", "resources": {"accelerator": "L4"}},
        "'smooth_quant', which is for CPUs; resources.accelerator is 'L4'\nhint: remove resources.accelerator, or use",
    ),
    "int4": ({"trt_llm__build__quantization_type": "weights_int4"}, "not implemented\nhint: use fp4"),
    "quantized float32": (
        {"trt_llm__build__quantization_type": "fp8", "environment_variables": {"DTYPE": "float32"}},
        "is 'fp8' and DTYPE is 'float32'; the other weights of a quantized engine are bfloat16",
    ),
    "unknown quantization": (
        {"trt_llm__build__quantization_type": "int3"},
        "quantization_type is 'int3': it must be one of no_quant, .*fp8",
    ),
    "unknown key without a hint": ({"trt_llm__build__colour": 1}, "unknown key: trt_llm.build.colour$"),
    "a variable that is a list": ({"environment_variables": {"API_KEY": ["hush"]}}, "environment_variables(?!.*hush)"),
    "budget too small": ({"trt_llm__build__max_num_tokens": 64}, "max_num_tokens is 64: expected `int` >= 65"),
    "budget too large": ({"trt_llm__build__max_num_tokens": 1048577}, "is 1048577: expected `int` <= 1048576"),
    "budget as text": ({"trt_llm__build__max_num_tokens": "16384"}, "is '16384': expected `int"),
    "route": (
        {"trt_llm__runtime__webserver_default_route": "/embed"},
        "webserver_default_route is '/embed': it must be one of /v1/embeddings, /rerank, /predict, /predict_tok",
    ),
    "source": (
        {"trt_llm__build__checkpoint_repository__source": "hf"},
        "checkpoint_repository.source is 'hf': it must be one of HF, LOCAL",
    ),
    "a location of another store": (
        {"trt_llm__build__checkpoint_repository": {"source": "S3", "repo": "gs://a/b"}},
        "gs://a/b is not a location in S3; the form is s3://bucket/path",
    ),
    "an archive that is no URL": (
        {"trt_llm__build__checkpoint_repository": {"source": "REMOTE_URL", "repo": "a.tar.gz"}},
        "'a.tar.gz' is not the URL of an archive",
    ),
    "a Hub id of three parts": (
        {"trt_llm__build__checkpoint_repository__repo": "a/b/c"},
        "'a/b/c' is not a Hub id\nhint: Hub ids have the form owner/name",
    ),
    "no repo": ({"trt_llm__build__checkpoint_repository__repo": None}, "missing required field `repo`"),
    "int8": ({"environment_variables": {"DTYPE": "int8"}}, "DTYPE is 'int8'.*bfloat16 or float16 or float32"),
    "a variable that is null": (
        {"environment_variables": {"FOO": None}},
        "environment_variables.FOO is null; it must be",
    ),
    "systemone": (
        {"trt_llm__runtime__webserver_default_route": "/v1/systemone"},
        "is /v1/systemone, a route that embedding models do not have\nhint: use one of /v1/embeddings, /rerank",
    ),
    "max_seq_len": ({"trt_llm__build__max_seq_len": 0}, "max_seq_len is 0: expected `int` >= 1"),
    "a route that is a number": ({"environment_variables": {"ROUTE": 1}}, "ROUTE is 1; it must be the name"),
    "control characters": ({"model_name": "a\x1b]0;b"}, r"model_name is 'a\\x1b.*control characters"),
    "a key that is a number": ({"environment_variables": {"API_KEY": 12345}}, "API_KEY is not a string(?!.*12345)"),
    "an empty key": ({"environment_variables": {"API_KEY": " "}}, "API_KEY is empty"),
    "a misspelled variable": ({"environment_variables": {"API_KEYS": "k"}}, "API_KEYS is unknown\nhint: .*API_KEY"),
    "a socket": ({"environment_variables": {"UDS_PATH": "/run/s"}}, "UDS_PATH is set, but"),
    "adapters": ({"trt_llm__build__lora_adapters": {"a": {}}}, "lora_adapters is set, but LoRA"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSALS.values(), ids=REFUSALS)
def test_refuses(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, minimal(**changes))
    assert re.search(message, str(refusal.value)), str(refusal.value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{last}'] * 10)}]\n" for last, name in zip("abcdefg", "bcdefgh", strict=True)
)
"""Nested aliases: 500 bytes that expand to a hundred million values."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "trt_llm: {}\n", "line 12: duplicate key trt_llm"),
        ("a: [1, {b: 1, b: 2}]", "line 1: duplicate key b"),
        ("- a list", "is not a mapping"),
        ("", "is not a mapping"),
        ("a: [", "is not valid YAML"),
        ("a: !!python/object:os.system {}", "is not valid YAML"),
        ("trt_llm: 3", "trt_llm is 3: expected `object`"),
        ("a: &a [*a]", "more than 50 levels"),
        ("a: &a {b: *a}", "more than 50 levels"),
        ("a: " + "[" * 3000, "more than 50 levels"),
        ("a: " + "[" * 60 + "]" * 60, "more than 50 levels"),
        (BOMB, "more than 100,000 values after expansion of aliases"),
        ("a: " + "x" * (1 << 20), "larger than the limit of 1,048,576 bytes"),
        ("a: 2026-13-45", "has an invalid value"),
    ],
)
def test_refuses_files(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(MINIMAL, encoding="utf-8-sig")
    assert load_config(tmp_path / "config.yaml").base_model == "encoder_bert"


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"model_name: \xe9")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "latin.yaml")


def test_tables_name_no_field_twice() -> None:
    fields = {field.name for field in msgspec.structs.fields(Config)}
    assert not fields & (WITHOUT_EFFECT.keys() | REFUSED.keys())
    assert not WITHOUT_EFFECT.keys() & REFUSED.keys()
    assert "/v1/embeddings" in get_args(Route)


def test_a_model_by_name(tmp_path: Path) -> None:
    assert deployment_for_model("owner/name").repository.repo == "owner/name"
    deployment = deployment_for_model("owner/name")
    assert (deployment.base_model, deployment.max_num_tokens) == (None, None)
    assert deployment.notes == ()
    assert deployment_for_model(str(tmp_path)).repository.source == "LOCAL"
    for nonsense in ("/nowhere/at/all", "./x", "a/b/c", "", "https://x/y"):
        with pytest.raises(ConfigError, match="neither a folder nor"):
            deployment_for_model(nonsense)


@pytest.mark.parametrize(
    ("url", "source", "name"),
    [
        ("s3://bucket/models/mini", "S3", "mini"),
        ("gs://bucket/mini", "GCS", "mini"),
        ("az://box/mini", "AZURE", "mini"),
        ("https://account.blob.core.windows.net/box/mini", "AZURE", "mini"),
        ("https://account.blob.core.windows.net/box/mini.tar.gz?sig=x", "REMOTE_URL", "mini"),
        ("https://host/mini.tgz", "REMOTE_URL", "mini"),
    ],
)
def test_a_model_by_url(url: str, source: str, name: str) -> None:
    deployment = deployment_for_model(url)
    assert (deployment.repository.source, deployment.repository.repo, deployment.model_name) == (source, url, name)


def test_environment(tmp_path: Path) -> None:
    unset = Environment.read({})
    assert (unset.isa, unset.threads, unset.backend, unset.hf_token, unset.is_offline) == (
        None,
        None,
        None,
        None,
        False,
    )
    assert unset.cache == Path("~/.cache/openbei").expanduser()
    variables = {"OPENBEI_THREADS": "3", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://h:1/"}
    environment = Environment.read({**variables, "HF_TOKEN": "hf_verysecret", "OPENBEI_ISA": ""})
    assert (environment.threads, environment.is_offline, environment.isa) == (3, True, None)
    assert (environment.hf_cache, environment.hf_endpoint) == (tmp_path / "hub", "http://h:1")
    assert environment.hf_token == "hf_verysecret"
    assert "verysecret" not in f"{environment!r} {environment}"


def test_keys_of_the_environment() -> None:
    assert Environment.read({}).api_keys == ()
    variables = {"OPENBEI_API_KEY": "k-1, k-2,", "API_KEY": "k-3", "OPENBEI_SSL_KEYFILE_PASSWORD": "k-4"}
    environment = Environment.read(variables)
    assert environment.api_keys == ("k-1", "k-2", "k-3")
    assert Environment.read({"API_KEY": "k-1"}, {"API_KEY": "k-2"}).config_api_keys == ("k-2",)
    assert environment.ssl_keyfile_password == "k-4"
    assert "k-" not in repr(environment.api_keys) + repr(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENBEI_API_KEY", ","),
        ("OPENBEI_THREADS", "0"),
        ("OPENBEI_THREADS", "two"),
        ("HF_HUB_OFFLINE", "maybe"),
        ("HF_ENDPOINT", "hub.example"),
    ],
)
def test_malformed_environment(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is '{value}'; it must be"):
        Environment.read({name: value})
