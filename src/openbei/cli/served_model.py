"""Options of `bei serve` for its models: their names, and the default prompt."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
from msgspec.structs import replace

from openbei.api.exchange.keys import Guard
from openbei.cli.option_groups import Command, Option, add_grouped
from openbei.engine_dir import Manifest
from openbei.errors import ConfigError
from openbei.prompts import Prompts

GIVEN_PROMPT = "default_prompt"
"""The name of a prompt given by --default-prompt, for clients."""


OPTIONS: tuple[Option, ...] = (
    click.option(
        "--served-model-name",
        "served_model_names",
        multiple=True,
        help="Model name in responses and, with several models, in requests; repeat it for each TARGET.  "
        "[default: model_name of the config, else the model id]",
    ),
    click.option(
        "--default-prompt-name",
        help="Prompt of the model, by name, for requests that do not name one.  [default: the model's default]",
    ),
    click.option("--default-prompt", help="Text to put before inputs instead, if the model has no suitable prompt."),
)


@dataclass(frozen=True, kw_only=True)
class ModelArguments:
    """The values of the options."""

    served_model_names: tuple[str, ...]
    default_prompt: str | None
    default_prompt_name: str | None

    def check(self, num_models: int, out: Path | None) -> None:
        """Raise ConfigError for options that do not fit the number of models."""
        names = self.served_model_names
        if names and len(names) != num_models:
            raise ConfigError(
                f"--served-model-name is given {len(names)} times for {num_models} models",
                hint="repeat it for each TARGET",
            )
        for name in names:
            if not (name and name.isprintable()):
                raise ConfigError(f"--served-model-name is {name!r}; it must be a name without control characters")
        if self.default_prompt is not None and self.default_prompt_name is not None:
            raise ConfigError("--default-prompt and --default-prompt-name exclude each other")
        of_one = {"--default-prompt": self.default_prompt, "--default-prompt-name": self.default_prompt_name}
        for option, value in {**of_one, "--out": out}.items():
            if value is not None and num_models > 1:
                raise ConfigError(f"{option} is for a single model; there are {num_models}")

    def name(self, index: int, manifest: Manifest) -> str:
        """The name of the model with an index: that of the options, or else its own."""
        return self.served_model_names[index] if self.served_model_names else manifest.model_name

    def prompts(self, prompts: Prompts) -> Prompts:
        """The model's prompts, with the default prompt of the options. Raises ConfigError."""
        name = self.default_prompt_name
        if self.default_prompt is not None:
            named = {**prompts.by_name, GIVEN_PROMPT: self.default_prompt}
            return replace(prompts, by_name=named, default=GIVEN_PROMPT)
        if name is not None and name not in prompts.by_name:
            known = ", ".join(prompts.by_name) or "none"
            raise ConfigError(f"--default-prompt-name is {name!r}; the model's prompts are: {known}")
        return prompts if name is None else replace(prompts, default=name)


def model_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `model_arguments: ModelArguments`."""
    return add_grouped(command, OPTIONS, "model_arguments", ModelArguments)


def require_key(manifests: Iterable[Manifest], guard: Guard) -> None:
    """Raise ConfigError if the config of a model requires an API key and none is set."""
    for manifest in manifests:
        if manifest.requires_api_key and guard.num_keys == 0:
            raise ConfigError(
                f"{manifest.model_name} was built from a config with an API key, and there is none here",
                hint="an engine directory keeps no secrets: serve the config.yaml, or set API_KEY or --api-key-file",
            )
