"""Options of `bei serve` for the model: its name, and its default prompt."""

import click
from msgspec.structs import replace

from openbei.api.exchange.keys import Guard
from openbei.cli.option_groups import Command, Option, add_options
from openbei.engine_dir import Manifest
from openbei.errors import ConfigError
from openbei.prompts import Prompts

GIVEN_PROMPT = "default_prompt"
"""The name of a prompt given by --default-prompt, for clients."""


OPTIONS: tuple[Option, ...] = (
    click.option(
        "--served-model-name", help="Model name in responses.  [default: model_name of the config, else the model id]"
    ),
    click.option(
        "--default-prompt-name",
        help="Prompt of the model, by name, for requests that do not name one.  [default: the model's default]",
    ),
    click.option("--default-prompt", help="Text to put before inputs instead, if the model has no suitable prompt."),
)


def model_options(command: Command) -> Command:
    """Add OPTIONS."""
    return add_options(command, OPTIONS)


def prompts_as_served(prompts: Prompts, default_prompt: str | None, default_prompt_name: str | None) -> Prompts:
    """The model's prompts, with the default prompt of the options. Raises ConfigError."""
    if default_prompt is not None and default_prompt_name is not None:
        raise ConfigError("--default-prompt and --default-prompt-name exclude each other")
    if default_prompt is not None:
        named = {**prompts.by_name, GIVEN_PROMPT: default_prompt}
        return replace(prompts, by_name=named, default=GIVEN_PROMPT)
    if default_prompt_name is not None and default_prompt_name not in prompts.by_name:
        known = ", ".join(prompts.by_name) or "none"
        raise ConfigError(f"--default-prompt-name is {default_prompt_name!r}; the model's prompts are: {known}")
    return replace(prompts, default=default_prompt_name) if default_prompt_name is not None else prompts


def checked_name(name: str | None) -> str | None:
    """The name of the options. Raises ConfigError."""
    if name is not None and not (name and name.isprintable()):
        raise ConfigError(f"--served-model-name is {name!r}; it must be a name without control characters")
    return name


def require_key(manifest: Manifest, guard: Guard) -> None:
    """Raise ConfigError if the model's config requires an API key and none is set."""
    if manifest.requires_api_key and guard.num_keys == 0:
        raise ConfigError(
            f"{manifest.model_name} was built from a config with an API key, and there is none here",
            hint="an engine directory keeps no secrets: serve the config.yaml, or set API_KEY or --api-key-file",
        )
