"""Chat templates of a checkpoint: found, and rendered in Jinja's sandbox, in a process of its own with limits.

Templates are rendered in builds only. What a server needs of one is text that stands around a query or a document.
"""

import multiprocessing
import resource
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from openbei.build.tokenizer_settings import TokenizerSettings, text_of
from openbei.errors import CheckpointError

FILE = "chat_template.jinja"
LIMIT_S, LIMIT_BYTES = 20, 2 << 30
"""Of one rendering: processor time and, in the process, memory."""

Messages = Sequence[Mapping[str, object]]

_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")
"""What sentence-transformers takes for a sign that a template wants lists of typed parts."""


def find_chat_template(root: Path, settings: TokenizerSettings) -> str:
    """The template, as transformers finds it; "" where there is none. Raises CheckpointError."""
    path, given = root / FILE, settings.values.get("chat_template")
    if "chat_template" in settings.overridden and isinstance(given, str):
        return given
    try:
        if path.is_file():
            return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not text: {error}") from error
    match given:
        case None:
            return ""
        case str(template):
            return template
        case [*named] if all(isinstance(one, dict) for one in named):
            return str(next((one.get("template") for one in named if one.get("name") == "default"), ""))
        case other:
            raise CheckpointError(f"tokenizer_config.json: chat_template is {other!r}; it must be text, or a list")


def message(role: str, text: str, template: str, message_format: str) -> dict[str, object]:
    """A message in the format of a sentence config; "auto" goes by what the template says."""
    if message_format == "auto":
        message_format = "structured" if any(sign in template for sign in _STRUCTURED) else "flat"
    return {"role": role, "content": text if message_format == "flat" else [{"type": "text", "text": text}]}


def render(
    template: str, conversations: Sequence[Messages], settings: TokenizerSettings, given: Mapping[str, Any]
) -> list[str]:
    """Each conversation as text; `given` are more of the template's variables.

    Raises CheckpointError where the template fails, or takes too long or too much memory.
    """
    names = {name: text_of(token) for name, token in settings.special.items()}
    variables = {"tools": None, "documents": None, "add_generation_prompt": False, **names, **given}
    work = msgspec.json.encode([template, [{**variables, "messages": messages} for messages in conversations]])
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_render_in_child, args=(theirs, work, LIMIT_S), daemon=True)
    process.start()
    theirs.close()
    try:
        answer = msgspec.json.decode(ours.recv_bytes()) if ours.poll(2 * LIMIT_S) else "it takes too long"
    except EOFError:
        answer = f"it takes more than {LIMIT_S} s or {LIMIT_BYTES >> 30} GiB"
    finally:
        process.kill()
        process.join()
    if isinstance(answer, str):
        raise CheckpointError(f"the chat template cannot be rendered: {answer}")
    return [str(text) for text in answer]


def _render_in_child(connection: Connection, work: bytes, limit_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    template, conversations = msgspec.json.decode(work)
    try:
        compiled = _environment().from_string(template)
        answer: object = [compiled.render(**variables) for variables in conversations]
    except Exception as error:  # whatever a template does
        answer = f"{type(error).__name__}: {error}"
    connection.send_bytes(msgspec.json.encode(answer))


def _environment() -> Any:  # noqa: ANN401
    """The sandbox, with what transformers gives to templates, but for today's date: an engine has no day."""
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks an answer of the assistant, and changes no text."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:  # noqa: ANN401
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(reason: str) -> None:
        raise ValueError(reason)

    def tojson(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
        import json

        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    return environment
