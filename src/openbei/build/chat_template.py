"""Chat templates of a checkpoint: loading, and rendering in Jinja's sandbox in a child process with limits.

Templates are only rendered in builds. A server uses the resulting text before and after a query or document.
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
"""Limits of the child process: CPU time and memory."""

Messages = Sequence[Mapping[str, object]]

_STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")
"""Strings by which sentence-transformers recognizes a template for structured messages."""


def find_chat_template(root: Path, settings: TokenizerSettings) -> str:
    """The template that transformers would load, or "". Raises CheckpointError."""
    path, setting = root / FILE, settings.values.get("chat_template")
    if "chat_template" in settings.overridden and isinstance(setting, str):
        return setting
    try:
        if path.is_file():
            return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8: {error}") from error
    match setting:
        case None:
            return ""
        case str(template):
            return template
        case [*templates] if all(isinstance(each, dict) for each in templates):
            return str(next((each.get("template") for each in templates if each.get("name") == "default"), ""))
        case other:
            raise CheckpointError(
                f"tokenizer_config.json: chat_template is {other!r}; it must be a string, or a list of named templates"
            )


def message(role: str, text: str, template: str, message_format: str) -> dict[str, object]:
    """A message in a `message_format` of sentence_bert_config.json; "auto" depends on the template."""
    if message_format == "auto":
        message_format = "structured" if any(marker in template for marker in _STRUCTURED) else "flat"
    return {"role": role, "content": text if message_format == "flat" else [{"type": "text", "text": text}]}


def render(
    template: str, conversations: Sequence[Messages], settings: TokenizerSettings, variables: Mapping[str, Any]
) -> list[str]:
    """Render conversations; `variables` are additional variables of the template.

    Raises CheckpointError if the template fails, or exceeds the limits of time and memory.
    """
    special_tokens = {name: text_of(token) for name, token in settings.special.items()}
    variables = {"tools": None, "documents": None, "add_generation_prompt": False, **special_tokens, **variables}
    job = msgspec.json.encode([template, [{**variables, "messages": messages} for messages in conversations]])
    context = multiprocessing.get_context("spawn")
    connection, child_connection = context.Pipe()
    process = context.Process(target=_render_in_child, args=(child_connection, job, LIMIT_S), daemon=True)
    process.start()
    child_connection.close()
    exceeded = f"it takes more than {LIMIT_S} s or {LIMIT_BYTES >> 30} GiB"
    try:
        result = msgspec.json.decode(connection.recv_bytes()) if connection.poll(2 * LIMIT_S) else exceeded
    except EOFError:
        result = exceeded
    finally:
        process.kill()
        process.join()
    if isinstance(result, str):
        raise CheckpointError(f"the chat template cannot be rendered: {result}")
    return [str(text) for text in result]


def _render_in_child(connection: Connection, job: bytes, limit_s: int) -> None:
    """Send the rendered texts, or an error message, through the connection."""
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    template, conversations = msgspec.json.decode(job)
    try:
        compiled = _environment().from_string(template)
        result: object = [compiled.render(**variables) for variables in conversations]
    except Exception as error:  # templates can raise anything
        result = f"{type(error).__name__}: {error}"
    connection.send_bytes(msgspec.json.encode(result))


def _environment() -> Any:  # noqa: ANN401
    """The sandbox with transformers' extensions, except for the current date, which must not end up in an engine."""
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's reply in training, and does not change the text."""

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
