"""Tokenizer classes, settings and special tokens against AutoTokenizer, individually and in random combinations."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import SentencePieceBPETokenizer

from openbei.build.sentence_config import SentenceConfig
from openbei.build.tokenizer_classes import CLASSES
from openbei.build.tokenizer_file import LoadedTokenizer, load_tokenizer
from openbei.errors import CheckpointError
from tests.checkpoint import (
    train_bpe_tokenizer,
    train_deberta_tokenizer,
    train_tokenizer,
    train_unigram_tokenizer,
    write_json,
)
from tests.prose import WORDS

TEXTS = [
    "The cat sat on the mat.",
    "An HTTP server — café naïve Größe 東京 Tokyo",
    "ÉCOLE  double  spaces\n\tand tabs ",
    "<pad> first",
    "say [MASK] and <mask> or [SEP] </s> <s>x [CLS]",
    "new_tok here newtok <|im_start|> extra1extra2",
    "   leading",
    "don't it's 123 4567!!!",
    "",
]
BERT = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
ROBERTA = {
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}
KINDS: dict[str, tuple[dict[str, str], list[str]]] = {
    "wordpiece": (
        BERT,
        ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "MPNetTokenizer", "PreTrainedTokenizerFast"],
    ),
    "byte_bpe": (
        ROBERTA,
        ["RobertaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer", "PreTrainedTokenizerFast", "LlamaTokenizer"],
    ),
    "unigram": (ROBERTA, ["XLMRobertaTokenizer", "CamembertTokenizer", "PreTrainedTokenizerFast"]),
    "deberta": ({**BERT, "bos_token": "[CLS]", "eos_token": "[SEP]"}, ["DebertaV2Tokenizer", "PreTrainedTokenizer"]),
    "space_bpe": (ROBERTA, ["LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer", "TokenizersBackend"]),
}
"""Kind of tokenizer.json -> its special tokens, and classes that load it."""

SETTINGS: dict[str, list[Any]] = {
    "do_lower_case": [True, False],
    "strip_accents": [True, False, None],
    "tokenize_chinese_chars": [True, False],
    "add_prefix_space": [True, False],
    "legacy": [True, False],
    "split_by_punct": [True, False],
    "truncation_side": ["left", "right"],
    "model_input_names": [["input_ids", "token_type_ids"]],
    "add_bos_token": [True, False],
    "add_eos_token": [True, False],
    "trim_offsets": [True, False],
}
MODEL_TYPES = [
    "bert",
    "roberta",
    "xlm-roberta",
    "mpnet",
    "deberta-v2",
    "modernbert",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma3_text",
    "eurobert",
    "gte",
    "of_a_repository",
]


def train_space_bpe(folder: Path, words: list[str]) -> Path:
    """Train a BPE tokenizer like Llama's, with SentencePiece's representation of spaces."""
    tokenizer = SentencePieceBPETokenizer()
    specials = ["<unk>", "<s>", "</s>", "<pad>", "<bos>", "<eos>", "<mask>"]
    tokenizer.train_from_iterator(words, vocab_size=700, show_progress=False, special_tokens=specials)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A decoded tokenizer.json of each kind."""
    training: dict[str, Callable[[Path, list[str]], Path]] = {
        "wordpiece": train_tokenizer,
        "byte_bpe": train_bpe_tokenizer,
        "unigram": train_unigram_tokenizer,
        "deberta": train_deberta_tokenizer,
        "space_bpe": train_space_bpe,
    }
    return {
        kind: json.loads(train(tmp_path_factory.mktemp(kind), WORDS[:20_000]).read_text())
        for kind, train in training.items()
    }


def save(folder: Path, content: dict[str, Any], settings: dict[str, Any], model_type: str = "of_a_repository") -> None:
    write_json(folder / "tokenizer.json", content)
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", {"model_type": model_type})


def load(folder: Path, **overrides: Any) -> LoadedTokenizer:
    config = json.loads((folder / "config.json").read_text())
    return load_tokenizer(folder, config, SentenceConfig(tokenizer=overrides))


def check(folder: Path, **overrides: Any) -> LoadedTokenizer:
    """Compare token ids, truncation side and token types with AutoTokenizer."""
    from transformers import AutoTokenizer

    expected, loaded = AutoTokenizer.from_pretrained(str(folder), **overrides), load(folder, **overrides)
    loaded.tokenizer.no_padding()
    loaded.tokenizer.no_truncation()
    for text in TEXTS:
        assert loaded.tokenizer.encode(text).ids == expected(text)["input_ids"], text
    assert loaded.tokenizer.encode("a b", "c d").ids == expected("a b", "c d")["input_ids"]
    assert loaded.direction == expected.truncation_side
    assert ("token_type_ids" in loaded.model_inputs) == ("token_type_ids" in expected.model_input_names)
    return loaded


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, names) in KINDS.items() for name in names])
def test_classes(kind: str, name: str, trained: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    save(tmp_path, trained[kind], {"tokenizer_class": name, **KINDS[kind][0]})
    check(tmp_path)


def test_every_class_is_tested() -> None:
    assert {name.removesuffix("Fast") for _, names in KINDS.values() for name in names} >= set(CLASSES)


@pytest.mark.parametrize(
    ("kind", "name", "settings"),
    [
        ("wordpiece", "BertTokenizer", {"do_lower_case": False}),
        ("wordpiece", "BertTokenizer", {"strip_accents": False}),
        ("wordpiece", "BertTokenizer", {"tokenize_chinese_chars": False}),
        ("byte_bpe", "RobertaTokenizer", {"add_prefix_space": True}),
        ("unigram", "XLMRobertaTokenizer", {"add_prefix_space": False}),
        ("deberta", "DebertaV2Tokenizer", {"do_lower_case": True}),
        ("deberta", "DebertaV2Tokenizer", {"split_by_punct": True}),
        ("space_bpe", "LlamaTokenizer", {"legacy": True}),
        ("space_bpe", "LlamaTokenizer", {"add_prefix_space": False}),
    ],
    ids=str,
)
def test_settings(
    kind: str, name: str, settings: dict[str, Any], trained: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    save(tmp_path, trained[kind], {"tokenizer_class": name, **KINDS[kind][0]})
    with_defaults = [load(tmp_path).tokenizer.encode(text).tokens for text in TEXTS]
    save(tmp_path, trained[kind], {"tokenizer_class": name, **KINDS[kind][0], **settings})
    assert [check(tmp_path).tokenizer.encode(text).tokens for text in TEXTS] != with_defaults


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({"additional_special_tokens": ["new_tok", "<|im_start|>"]}, {}),
        ({"extra_special_tokens": ["new_tok"]}, {}),
        ({"extra_special_tokens": {"tool_token": "new_tok"}, "image_token": "<|im_start|>"}, {}),
        ({"added_tokens_decoder": {"900": {"content": "new_tok", "special": False}}}, {}),
        ({}, {"added_tokens.json": {"new_tok": 900}}),
        ({}, {"special_tokens_map.json": {"additional_special_tokens": ["new_tok"]}}),
        (
            {"extra_special_tokens": ["<|im_start|>"]},
            {"special_tokens_map.json": {"extra_special_tokens": ["new_tok"]}},
        ),
        ({}, {"special_tokens_map.json": {"mask_token": {"content": "new_tok", "lstrip": True}}}),
    ],
    ids=str,
)
@pytest.mark.parametrize(("kind", "name"), [("wordpiece", "BertTokenizer"), ("byte_bpe", "PreTrainedTokenizerFast")])
def test_added_tokens_of_settings(
    settings: dict[str, Any],
    files: dict[str, Any],
    kind: str,
    name: str,
    trained: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    save(tmp_path, trained[kind], {"tokenizer_class": name, **KINDS[kind][0], **settings})
    for file, content in files.items():
        write_json(tmp_path / file, content)
    tokens = check(tmp_path).tokenizer.encode("a new_tok b").tokens
    assert "new_tok" in [token.strip() for token in tokens]


@pytest.mark.parametrize("seed", range(40))
def test_random_checkpoints(seed: int, trained: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Random combinations of settings, special tokens and files of all versions. Skipped if transformers fails."""
    from transformers import AutoTokenizer

    rng = random.Random(seed)
    kind = rng.choice(list(KINDS))
    names, classes = KINDS[kind]
    content = {**trained[kind]}
    if rng.random() < 0.3:
        content["truncation"] = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    if rng.random() < 0.2:
        content["post_processor"] = None
    settings = {key: rng.choice(values) for key, values in SETTINGS.items() if rng.random() < 0.25}
    settings |= {"tokenizer_class": rng.choice(classes), **{k: v for k, v in names.items() if rng.random() < 0.8}}
    if rng.random() < 0.3:
        settings["additional_special_tokens"] = ["<|im_start|>", "extra1"]
    if rng.random() < 0.3:
        settings["extra_special_tokens"] = rng.choice([["new_tok"], {"foo_token": "extra2"}])
    if rng.random() < 0.3:
        listed = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in content["added_tokens"]}
        settings["added_tokens_decoder"] = listed
    save(tmp_path, content, settings, rng.choice(MODEL_TYPES))
    if rng.random() < 0.3:
        write_json(tmp_path / "special_tokens_map.json", {**names, "additional_special_tokens": ["extra2"]})
    if rng.random() < 0.2:
        write_json(tmp_path / "added_tokens.json", {"newtok": len(content["model"]["vocab"]) + 1})
    overrides = {"add_eos_token": True} if rng.random() < 0.2 else {}
    try:
        expected = AutoTokenizer.from_pretrained(str(tmp_path), **overrides)
        [expected(text) for text in TEXTS]
    except Exception as error:
        pytest.skip(f"transformers does not load it: {error}")
    if any(
        decision.is_warning and "unchanged" in decision.decision for decision in load(tmp_path, **overrides).decisions
    ):
        pytest.skip("the class does not support the vocabulary, and the report has a warning")
    check(tmp_path, **overrides)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split_special_tokens": True}, "split_special_tokens is true"),
        ({"fix_mistral_regex": True}, "fix_mistral_regex is true"),
        ({"truncation_side": "middle"}, "truncation_side is 'middle'"),
        ({"do_lower_case": "yes"}, "do_lower_case is 'yes'; it must be bool"),
        ({"added_tokens_decoder": [1]}, "added_tokens_decoder is"),
        ({"added_tokens_decoder": {"x": {"content": "y"}}}, "the id of an added token is 'x'"),
        ({"additional_special_tokens": "x"}, "must be a list"),
        ({"mask_token": 3}, "a special token is 3"),
        ({"cls_token": None}, "no tokenizer can be built from"),
    ],
    ids=str,
)
def test_refusals(settings: dict[str, Any], message: str, trained: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    save(tmp_path, trained["wordpiece"], {"tokenizer_class": "BertTokenizer", **BERT, **settings})
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_a_class_for_another_vocabulary_type_is_a_warning(trained: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    save(tmp_path, trained["unigram"], {"tokenizer_class": "BertTokenizer", **ROBERTA})
    [decision] = load(tmp_path).decisions
    assert decision.is_warning
    assert "BertTokenizer" in decision.reason
