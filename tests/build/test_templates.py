"""Chat templates of embedding models and rerankers against sentence-transformers, and unsupported templates."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.api.operations.wrong_task import require_reranker
from openbei.backends import load_engine
from openbei.batch import PackedBatch
from openbei.build.chat_template import render
from openbei.build.tokenizer_settings import TokenizerSettings
from openbei.build.wrapping import find_wrapping
from openbei.errors import CheckpointError, WrongTaskError
from openbei.serving.tokenizer import Frame, Tokenizer
from tests.checkpoint import build_engine, expected_vectors, save_checkpoint, save_model, write_json
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
    """Add a chat template to a checkpoint, with the settings of sentence-transformers 5.4 and later."""
    (checkpoint / "chat_template.jinja").write_text(template)
    mode = {"method": "forward", "method_output_name": "last_hidden_state"}
    path = checkpoint / "sentence_bert_config.json"
    settings = json.loads(path.read_text()) if path.exists() else {}
    settings |= {"modality_config": {"text": mode, "message": {**mode, "format": message_format}}}
    settings |= {"module_output_name": "token_embeddings", "processing_kwargs": {"chat_template": chat}}
    write_json(path, settings)
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
    """Short and long texts, and texts with a prompt, which is rendered as a system message."""
    from sentence_transformers import SentenceTransformer

    checkpoint = save_checkpoint(tmp_path / "model", words, architecture="Qwen2Model", pooling="lasttoken", **SIZES)
    write_json(checkpoint / "config_sentence_transformers.json", {"prompts": {"query": "find this: "}})
    add_template(checkpoint, template, message_format, **chat)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    given = TEXTS + LONG
    assert worst_cosine(embed(engine_dir, given), expected_vectors(checkpoint, given)) > 0.99999
    model = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
    expected = np.asarray(model.encode(TEXTS, batch_size=1, prompt_name="query"), np.float32)
    assert worst_cosine(embed(engine_dir, TEXTS, prompt_name="query"), expected) > 0.99999


def test_no_template_for_older_checkpoints(words: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "model", words, architecture="Qwen2Model", pooling="lasttoken", **SIZES)
    (checkpoint / "chat_template.jinja").write_text(CHATML)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert engine_dir.manifest.text_template is None
    assert worst_cosine(embed(engine_dir, TEXTS), expected_vectors(checkpoint, TEXTS)) > 0.99999


HOSTILE = {
    "raises": ("{{ raise_exception('no') }}", "cannot be rendered: ValueError: no"),
    "syntax": ("{% for %}", "cannot be rendered: TemplateSyntaxError"),
    "text omitted": ("nothing", "includes the text 0 times"),
    "text repeated": ("{{ messages[0].content }}{{ messages[0].content }}", "includes the text 2 times"),
    "upper case": ("{{ messages[0].content | upper }}", "includes the text 0 times"),
    "escapes": ("{{ messages[0].content | e }}", "modifies texts"),
    "date": ("{{ strftime_now('%Y') }}{{ messages[0].content }}", "'strftime_now' is undefined"),
    "attributes": ("{{ ''.__class__.__mro__ }}", "cannot be rendered: SecurityError"),
    "endless": ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "it takes more than"),
    "memory": (
        "{% set a = namespace(x='a' * 99999) %}{% for b in range(99) %}{% set a.x = a.x + a.x %}{% endfor %}",
        "cannot be rendered",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_unsupported_templates(name: str, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template, message = HOSTILE[name]
    if name == "endless":
        monkeypatch.setattr("openbei.build.chat_template.LIMIT_S", 2)
    settings = TokenizerSettings({}, {}, (), {})
    with pytest.raises(CheckpointError, match=message):
        find_wrapping(
            lambda texts: render(
                template, [[{"role": "user", "content": text["text"]}] for text in texts], settings, {}
            ),
            ("text",),
        )


def test_a_missing_template(words: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "model", words, architecture="Qwen2Model", pooling="lasttoken", **SIZES)
    (add_template(checkpoint, CHATML) / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="modality_config has message, but the checkpoint has no chat template"):
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
    """Save a one-label reranker with a chat template, with or without CrossEncoder's files."""

    def make(template: str, *, has_modules_json: bool = True, prompts: dict[str, Any] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("reranker")
        save_model(folder, words, "Qwen3ForSequenceClassification", num_labels=1, **SIZES)
        add_template(folder, template)
        if has_modules_json:
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


@pytest.mark.parametrize("has_modules_json", [True, False])
@pytest.mark.parametrize("prompts", [{}, {"prompts": {"web": "judge"}, "default_prompt_name": "web"}], ids=len)
def test_rerankers(
    has_modules_json: bool, prompts: dict[str, Any], make_reranker: Callable[..., Path], tmp_path: Path
) -> None:
    from sentence_transformers import CrossEncoder

    checkpoint = make_reranker(PAIRS, has_modules_json=has_modules_json, prompts=prompts)
    model = CrossEncoder(str(checkpoint), device="cpu", local_files_only=True)
    expected = model.predict([(TEXTS[0], text) for text in TEXTS], batch_size=1, activation_fn=lambda x: x)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    template = engine_dir.manifest.score_template
    assert template is not None
    frame = Frame(template.render_prefix(TEXTS[0]), template.suffix, template.adds_special_tokens)
    sequences = Tokenizer.open(engine_dir).encode_framed(frame, TEXTS)
    logits = np.asarray(load_engine(engine_dir).run(PackedBatch.pack(sequences)))
    assert np.abs(logits[:, 0] - expected).max() < 2e-4


def test_an_unsupported_template_for_pairs(make_reranker: Callable[..., Path], tmp_path: Path) -> None:
    """The report has a warning, and /rerank is refused; /predict works."""
    manifest = build_engine(make_reranker(BACKWARDS), tmp_path / "engine").manifest
    [decision] = [decision for decision in manifest.report if decision.is_warning]
    assert "/rerank is refused" in decision.decision
    assert not manifest.is_reranker
    assert manifest.default_route == "/predict"
    with pytest.raises(WrongTaskError, match="its chat template for pairs"):
        require_reranker(manifest)


def test_a_template_without_documents_is_not_used(make_reranker: Callable[..., Path], tmp_path: Path) -> None:
    """Without sentence_bert_config.json it is assumed to be left over from the base model."""
    manifest = build_engine(make_reranker(CHATML, has_modules_json=False), tmp_path / "engine").manifest
    assert manifest.score_template is None
    assert manifest.is_reranker
