"""Chat templates: texts and pairs as sentence-transformers renders them, and templates that cannot be followed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.api.operations.wrong_task import is_reranker, require_reranker
from openbei.backends import load_engine
from openbei.batch import PackedBatch
from openbei.build.chat_template import render
from openbei.build.tokenizer_settings import TokenizerSettings
from openbei.build.wrapping import around
from openbei.errors import CheckpointError, WrongTaskError
from openbei.serving.tokenizer import Frame, Tokenizer
from tests.checkpoint import build_engine, judge_vectors, save_checkpoint, save_model, write_json
from tests.generative import train_word_tokenizer
from tests.prose import texts
from tests.same_embedding import worst_cosine
from tests.sentence_chain import embed

TEXTS = [*texts(5, longest=30), "  spaces around \n", "{text} {{braces}} <b> 'quotes'"]
LONG = texts(3, longest=400)
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
TRIMMED = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }} [/{{ m.role }}]{% endfor %}"
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<s>You help.</s>{% endif %}"
    "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)
STRUCTURED = "{% for m in messages %}{% generation %}{{ m.content[0].text }}{% endgeneration %}|{% endfor %}"
SIZES = {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_word_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def add_template(checkpoint: Path, template: str, message_format: str = "flat", **chat: Any) -> Path:
    """A checkpoint as sentence-transformers 5.4 and later save one whose texts go through a template."""
    (checkpoint / "chat_template.jinja").write_text(template)
    mode = {"method": "forward", "method_output_name": "last_hidden_state"}
    path = checkpoint / "sentence_bert_config.json"
    given = json.loads(path.read_text()) if path.exists() else {}
    given |= {"modality_config": {"text": mode, "message": {**mode, "format": message_format}}}
    given |= {"module_output_name": "token_embeddings", "processing_kwargs": {"chat_template": chat}}
    write_json(path, given)
    return checkpoint


@pytest.mark.parametrize(
    ("template", "message_format", "chat"),
    [
        (CHATML, "flat", {}),
        (TRIMMED, "flat", {}),
        (DEFAULT_SYSTEM, "auto", {"add_generation_prompt": True}),
        (STRUCTURED, "structured", {}),
        (STRUCTURED, "auto", {}),
    ],
)
def test_embeddings(template: str, message_format: str, chat: dict[str, Any], words: Path, tmp_path: Path) -> None:
    """Texts, long texts, and texts with a prompt, which becomes a system message."""
    from sentence_transformers import SentenceTransformer

    checkpoint = save_checkpoint(tmp_path / "model", words, architecture="Qwen2Model", pooling="lasttoken", **SIZES)
    write_json(checkpoint / "config_sentence_transformers.json", {"prompts": {"query": "find this: "}})
    add_template(checkpoint, template, message_format, **chat)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    given = TEXTS + LONG
    assert worst_cosine(embed(engine_dir, given), judge_vectors(checkpoint, given)) > 0.99999
    model = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
    expected = np.asarray(model.encode(TEXTS, batch_size=1, prompt_name="query"), np.float32)
    assert worst_cosine(embed(engine_dir, TEXTS, prompt_name="query"), expected) > 0.99999


def test_older_checkpoints_read_texts_alone(words: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "model", words, architecture="Qwen2Model", pooling="lasttoken", **SIZES)
    (checkpoint / "chat_template.jinja").write_text(CHATML)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert engine_dir.manifest.text_template is None
    assert worst_cosine(embed(engine_dir, TEXTS), judge_vectors(checkpoint, TEXTS)) > 0.99999


HOSTILE = {
    "raises": ("{{ raise_exception('no') }}", "cannot be rendered: ValueError: no"),
    "syntax": ("{% for %}", "cannot be rendered: TemplateSyntaxError"),
    "leaves out": ("nothing", "shows the text 0 times"),
    "twice": ("{{ messages[0].content }}{{ messages[0].content }}", "shows the text 2 times"),
    "changes": ("{{ messages[0].content | upper }}", "shows the text 0 times"),
    "escapes": ("{{ messages[0].content | e }}", "changes texts"),
    "date": ("{{ strftime_now('%Y') }}{{ messages[0].content }}", "'strftime_now' is undefined"),
    "attributes": ("{{ ''.__class__.__mro__ }}", "cannot be rendered: SecurityError"),
    "endless": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "it takes more than"),
    "memory": ("{% set a = namespace(x='a' * 99999) %}{% for b in range(99) %}{% set a.x = a.x + a.x %}{% endfor %}",
               "cannot be rendered"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_templates_that_cannot_be_followed(
    name: str, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, message = HOSTILE[name]
    monkeypatch.setattr("openbei.build.chat_template.LIMIT_S", 2)
    settings = TokenizerSettings({}, {}, (), {})
    with pytest.raises(CheckpointError, match=message):
        around(
            lambda given: render(template, [[{"role": "user", "content": one["text"]}] for one in given], settings, {}),
            ("text",),
        )


def test_a_template_that_is_not_there(words: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "model", words, architecture="Qwen2Model", pooling="lasttoken", **SIZES)
    (add_template(checkpoint, CHATML) / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="modality_config has message; the checkpoint has no chat template"):
        build_engine(checkpoint, tmp_path / "engine")


PAIRS = (
    "{% for m in messages %}{% if m['role'] == 'system' %}<I>{{ m['content'] }}</I>{% elif m['role'] == 'query' %}"
    "<Q>{{ m['content'] }}</Q>{% elif m['role'] == 'document' %}<D>{{ m['content'] }}</D>{% endif %}{% endfor %}"
)
BACKWARDS = (
    "{% for m in messages | reverse %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{# 'document' comes first #}"
)


@pytest.fixture(scope="module")
def make_reranker(tmp_path_factory: pytest.TempPathFactory, words: Path) -> Callable[..., Path]:
    """Saves a one-label reranker with a chat template, as CrossEncoder does, or with `is_listed` False plain."""

    def make(template: str, *, is_listed: bool = True, prompts: dict[str, Any] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("reranker")
        save_model(folder, words, "Qwen3ForSequenceClassification", num_labels=1, **SIZES)
        add_template(folder, template)
        if is_listed:
            write_json(
                folder / "modules.json",
                [
                    {
                        "idx": 0,
                        "name": "0",
                        "path": "",
                        "type": "sentence_transformers.base.modules.transformer.Transformer",
                    }
                ],
            )
            settings = json.loads((folder / "sentence_bert_config.json").read_text())
            for mode in settings["modality_config"].values():
                mode["method_output_name"] = "logits"
            settings |= {"module_output_name": "scores", "transformer_task": "sequence-classification"}
            write_json(folder / "sentence_bert_config.json", settings)
            write_json(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder", **(prompts or {})})
        return folder

    return make


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("prompts", [{}, {"prompts": {"web": "judge"}, "default_prompt_name": "web"}], ids=len)
def test_rerankers(
    is_listed: bool, prompts: dict[str, Any], make_reranker: Callable[..., Path], tmp_path: Path
) -> None:
    from sentence_transformers import CrossEncoder

    checkpoint = make_reranker(PAIRS, is_listed=is_listed, prompts=prompts)
    model = CrossEncoder(str(checkpoint), device="cpu", local_files_only=True)
    expected = model.predict([(TEXTS[0], text) for text in TEXTS], batch_size=1, activation_fn=lambda x: x)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    template = engine_dir.manifest.score_template
    assert template is not None
    frame = Frame(template.before(TEXTS[0]), template.suffix, template.adds_special_tokens)
    sequences = Tokenizer.open(engine_dir).encode_framed(frame, TEXTS)
    logits = np.asarray(load_engine(engine_dir).run(PackedBatch.pack(sequences)))
    assert np.abs(logits[:, 0] - expected).max() < 2e-4


def test_a_template_for_pairs_that_cannot_be_followed(make_reranker: Callable[..., Path], tmp_path: Path) -> None:
    """The build says so, and /rerank is refused; /predict reads what it is sent."""
    manifest = build_engine(make_reranker(BACKWARDS), tmp_path / "engine").manifest
    [decision] = [decision for decision in manifest.report if decision.is_warning]
    assert "/rerank is refused" in decision.decision
    assert not is_reranker(manifest)
    assert manifest.default_route == "/predict"
    with pytest.raises(WrongTaskError, match="its chat template for pairs"):
        require_reranker(manifest)


def test_a_template_without_a_place_for_pairs_is_not_used(make_reranker: Callable[..., Path], tmp_path: Path) -> None:
    """Where nothing says that texts go through it, a template of the base model means nothing to a classifier."""
    manifest = build_engine(make_reranker(CHATML, is_listed=False), tmp_path / "engine").manifest
    assert manifest.score_template is None
    assert is_reranker(manifest)
