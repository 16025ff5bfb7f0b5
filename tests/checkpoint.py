"""Small checkpoints with seeded weights, saved by sentence-transformers, and engines built from them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from openbei.batch import Sequence
from openbei.build import build
from openbei.config import Deployment, Environment, deployment_for_model
from openbei.engine_dir import EngineDir
from openbei.spec import DType

TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
}


def train_tokenizer(folder: Path, words: list[str]) -> Path:
    """Train a WordPiece tokenizer with BERT's normalizer and special tokens; returns its tokenizer.json.

    The vocabulary comes from BPE training, each piece with and without ##, because training of WordPiece in tokenizers
    is not deterministic.
    """
    from tokenizers import BertWordPieceTokenizer, models, normalizers, pre_tokenizers, trainers
    from tokenizers.processors import BertProcessing

    pairs = Tokenizer(models.BPE())
    pairs.normalizer, pairs.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    pairs.train_from_iterator(words, trainers.BpeTrainer(vocab_size=397, show_progress=False))
    pieces = sorted(pairs.get_vocab(), key=pairs.token_to_id)
    names = [*BERT_SPECIALS, *pieces, *(f"##{piece}" for piece in pieces)]
    tokenizer = BertWordPieceTokenizer({name: i for i, name in enumerate(names)}, lowercase=True)
    tokenizer.post_processor = BertProcessing(
        ("[SEP]", tokenizer.token_to_id("[SEP]")), ("[CLS]", tokenizer.token_to_id("[CLS]"))
    )
    tokenizer.enable_truncation(7)  # real checkpoints have these settings; a server must ignore them
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def train_bpe_tokenizer(folder: Path, words: list[str]) -> Path:
    """Train a byte-level BPE tokenizer like RoBERTa's; returns its tokenizer.json."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(words, vocab_size=900, show_progress=False, special_tokens=ROBERTA_SPECIALS)
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def train_unigram_tokenizer(folder: Path, words: list[str]) -> Path:
    """Train a Unigram tokenizer like XLM-RoBERTa's; returns its tokenizer.json."""
    from tokenizers import SentencePieceUnigramTokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = SentencePieceUnigramTokenizer()
    tokenizer.train_from_iterator(
        words, vocab_size=700, show_progress=False, unk_token="<unk>", special_tokens=ROBERTA_SPECIALS
    )
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def train_deberta_tokenizer(folder: Path, words: list[str]) -> Path:
    """Train a Unigram tokenizer like DeBERTa-v3's, with BERT's special tokens; returns its tokenizer.json."""
    from tokenizers import SentencePieceUnigramTokenizer
    from transformers import DebertaV2Tokenizer

    trained = SentencePieceUnigramTokenizer()
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    trained.train_from_iterator(words, vocab_size=700, show_progress=False, unk_token="[UNK]", special_tokens=specials)
    vocab = [(token, score) for token, score in json.loads(trained.to_str())["model"]["vocab"]]
    DebertaV2Tokenizer(vocab=[*vocab, ("[MASK]", 0.0)]).save_pretrained(folder)
    return folder / "tokenizer.json"


BERT_NAMES = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
ROBERTA_NAMES = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def save_model(folder: Path, tokenizer_json: Path, architecture: str, *, seed: int = 0, **config: object) -> Path:
    """Save a seeded transformers model, with enough variance to make texts differ, and its tokenizer."""
    import torch
    import transformers

    names = BERT_NAMES if "[CLS]" in tokenizer_json.read_text() else ROBERTA_NAMES
    inputs = ["input_ids", *(["token_type_ids"] if names is BERT_NAMES else []), "attention_mask"]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer_json), model_input_names=inputs, **names
    )
    config = TINY | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id} | config
    torch.manual_seed(seed)
    model_class = getattr(transformers, architecture)
    model = model_class(model_class.config_class(**config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 1.0 if "embed" in name else 1.5 * parameter.shape[-1] ** -0.5
            norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.normal_(1.0 if norm else 0.0, 0.2 if parameter.ndim == 1 else spread)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_checkpoint(
    folder: Path,
    tokenizer_json: Path,
    *,
    architecture: str = "BertModel",
    pooling: str = "mean",
    normalize: bool = True,
    **config: Any,
) -> Path:
    """Save an embedding model of sentence-transformers; see `save_model`."""
    save_model(folder, tokenizer_json, architecture, **config)
    config = TINY | config
    positions = config["max_position_embeddings"]
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": positions})
    write_json(
        folder / "1_Pooling/config.json", {"embedding_dimension": config["hidden_size"], "pooling_mode": pooling}
    )
    chain = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")][: 3 if normalize else 2]
    write_chain(folder, chain)
    return folder


def write_chain(folder: Path, chain: list[tuple[str, str]]) -> None:
    """Write a modules.json from (folder, class name) pairs."""
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(chain)
        ],
    )


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, creating parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def update_json(path: Path, **changes: object) -> None:
    """Set keys of a JSON file whose top level is an object."""
    write_json(path, json.loads(path.read_text()) | changes)


def deployment(checkpoint: Path, *, dtype: DType = "float32", **changes: Any) -> Deployment:
    """The deployment of a local checkpoint with changed fields."""
    return msgspec.structs.replace(deployment_for_model(str(checkpoint)), dtype=dtype, **changes)


def build_engine(checkpoint: Path, out: Path, *, dtype: DType = "float32", **changes: Any) -> EngineDir:
    """Build a local checkpoint into `out`; `changes` are fields of its deployment."""
    return build(deployment(checkpoint, dtype=dtype, **changes), out, environment=Environment.read({}))


def tokenize(engine_dir: EngineDir, texts: list[str]) -> list[Sequence]:
    """Tokenize with the engine's tokenizer.json, truncated to the model's length."""
    tokenizer = Tokenizer.from_file(str(engine_dir.tokenizer_path))
    tokenizer.enable_truncation(engine_dir.manifest.max_sequence_tokens)
    return [Sequence(np.array(e.ids, np.int32), len(e.ids)) for e in tokenizer.encode_batch(texts)]


def expected_vectors(checkpoint: Path, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Embeddings by sentence-transformers, one text at a time to avoid padding, float32 [n, D]."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
    return np.asarray(model.encode(texts, batch_size=1), np.float32)


def expected_logits(
    checkpoint: Path, end: str, given: list[Any], dtype: DType = "float32"
) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Logits by transformers in `dtype`, one text or pair at a time to avoid padding."""
    import torch
    import transformers

    model = getattr(transformers, f"AutoModel{end}").from_pretrained(checkpoint, dtype=getattr(torch, dtype)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    how = {"truncation": True, "max_length": 128, "return_token_type_ids": model.config.type_vocab_size > 1}
    items = [one if isinstance(one, tuple) else (one,) for one in given]
    with torch.no_grad():
        return [model(**tokenizer(*item, return_tensors="pt", **how)).logits[0].float().numpy() for item in items]
