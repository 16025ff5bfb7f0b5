"""Special tokens added to texts, against AutoTokenizer."""

import json
from pathlib import Path

import pytest
import tokenizers
import transformers
from tokenizers import processors

from tests.checkpoint import build_engine, save_checkpoint, tokenize, train_bpe_tokenizer, write_json
from tests.prose import WORDS

SMALL = {"architecture": "LlamaModel", "num_key_value_heads": 2}
SPECIALS = [("<s>", 0), ("</s>", 2)]


@pytest.mark.parametrize(("single", "adds_eos"), [("$A", False), ("$A </s>", True), ("<s> $A </s>", True)])
@pytest.mark.parametrize("tokenizer_class", ["LlamaTokenizerFast", "PreTrainedTokenizerFast"])
def test_the_post_processor_adds_special_tokens(
    single: str, adds_eos: bool, tokenizer_class: str, tmp_path: Path
) -> None:
    """As in transformers 5, add_eos_token of tokenizer_config.json has no effect."""
    path = train_bpe_tokenizer(tmp_path, WORDS[:5000])
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair="$A $B", special_tokens=[token for token in SPECIALS if token[0] in single]
    )
    checkpoint = save_checkpoint(tmp_path / "model", path, **SMALL)
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    settings = {"tokenizer_class": tokenizer_class, "bos_token": "<s>", "eos_token": "</s>", "add_eos_token": True}
    write_json(checkpoint / "tokenizer_config.json", config | settings)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    expected = transformers.AutoTokenizer.from_pretrained(checkpoint)
    texts = ["the end", "a class of things", "What is it?"]
    assert [sequence.token_ids.tolist() for sequence in tokenize(engine_dir, texts)] == expected(texts).input_ids
    decision = "add_eos_token has no effect: </s> is not added"
    warnings = [d.is_warning for d in engine_dir.manifest.report if d.decision == decision]
    assert warnings == ([] if adds_eos else [True])
