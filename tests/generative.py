"""Small generative rerankers with seeded weights, whose vocabulary has the tokens "yes" and "no"."""

from pathlib import Path
from typing import Any

from openbei.prompts import ScoreTemplate
from tests.checkpoint import ROBERTA_SPECIALS, save_model
from tests.prose import WORDS

SIZES = {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 1024}


def train_word_tokenizer(folder: Path) -> Path:
    """Train a byte-level BPE tokenizer that adds no special tokens and has the tokens "yes" and "no"."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    answers = ["yes no"] * 500
    tokenizer.train_from_iterator(
        [*WORDS[:20_000], *answers], vocab_size=900, show_progress=False, special_tokens=ROBERTA_SPECIALS
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def save_generative(folder: Path, tokenizer_json: Path, family: str = "Qwen3", **config: Any) -> Path:
    """Save a …ForCausalLM model of transformers."""
    return save_model(folder, tokenizer_json, f"{family}ForCausalLM", **SIZES, **config)


def save_cross_encoder(
    folder: Path, checkpoint: Path, chat_template: str | None = None, modules: dict[str, int] | None = None
) -> Path:
    """Save the model as a CrossEncoder with LogitScore; `modules` are the arguments of LogitScore, token ids."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import LogitScore

    if chat_template:
        (checkpoint / "chat_template.jinja").write_text(chat_template)
    model = CrossEncoder(str(checkpoint), device="cpu", local_files_only=True)
    if modules:
        model[1] = LogitScore(**modules)
    model.save_pretrained(str(folder))
    return folder


def chat_template(template: ScoreTemplate) -> str:
    """A Jinja template equivalent to a score template; the system message is the instruction."""
    text = template.prefix + "{document}" + template.suffix + "\n"  # Jinja drops the trailing newline
    for role, name in {"system": "instruction", "query": "query", "document": "document"}.items():
        message = f"messages | selectattr('role', 'eq', '{role}') | map(attribute='content') | first"
        default = f" | default('{template.instruction}')" if role == "system" else ""
        text = text.replace(f"{{{name}}}", f"{{{{ {message}{default} }}}}")
    return text
