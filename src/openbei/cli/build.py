"""`bei build`: build an engine directory from a config and its checkpoint."""

from pathlib import Path
from typing import get_args

import click

from openbei import targets
from openbei.cli.engine_options import device_option
from openbei.cli.logs import log_to_stderr
from openbei.config import Conversion, PoolingChoice
from openbei.device import DeviceChoice
from openbei.engine_dir import is_engine_dir
from openbei.errors import ConfigError
from openbei.quantization import NO_QUANTIZATION, QUANTIZATIONS


@click.command
@click.argument("config")
@click.option("--out", type=click.Path(path_type=Path), help="Engine directory to write.  [default: one in the cache]")
@device_option("Device to build for; building for GPUs does not require one.  [default: auto, a GPU if it can be used]")
@click.option("--force", is_flag=True, help="Build even if the engine directory is up to date.")
@click.option(
    "--quantization",
    type=click.Choice([NO_QUANTIZATION, *QUANTIZATIONS]),
    help="Quantization of the weights, as trt_llm.build.quantization_type; takes half or a quarter of the memory.  "
    "[default: that of the config]",
)
@click.option(
    "--texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with one text per line, on which the accuracy of a quantized build is measured; use texts like yours.  "
    "[default: 520 texts and 100 queries that come with openbei]",
)
@click.option(
    "--min-cosine",
    type=click.FloatRange(0, 1),
    help="Fail if the mean cosine similarity of a quantized build to bfloat16 is lower. Only for embedding and sparse "
    "models.",
)
@click.option(
    "--convert",
    type=click.Choice(get_args(Conversion)),
    help="Convert a generative reranker (Qwen3-Reranker and mxbai-rerank-v2 as published) into a classifier. Not "
    "needed if modules.json has a LogitScore. In a config: environment_variables.CONVERT.",
)
@click.option(
    "--answer-tokens",
    help="Answer tokens of a generative reranker that become labels, separated by commas, the positive one last. "
    "Implies --convert lm-head. In a config: environment_variables.ANSWER_TOKENS.  "
    "[default: those of LogitScore in modules.json, else no,yes for Qwen3 and 0,1 for Qwen2]",
)
@click.option(
    "--route",
    help="Route to build, such as query, of a model with a Router. In a config: environment_variables.ROUTE.  "
    "[default: the Router's default]",
)
@click.option(
    "--pooling",
    type=click.Choice(get_args(PoolingChoice)),
    help="Pooling for a checkpoint without modules.json: the mode that its model card names, or splade for a sparse "
    "model. In a config: environment_variables.POOLING.",
)
def command(
    config: str,
    out: Path | None,
    device: DeviceChoice | None,
    force: bool,
    quantization: str | None,
    texts: Path | None,
    min_cosine: float | None,
    convert: Conversion | None,
    answer_tokens: str | None,
    route: str | None,
    pooling: PoolingChoice | None,
) -> None:
    """Build an engine directory.

    CONFIG is a config.yaml, a folder with a Hugging Face checkpoint, a model id on the Hub, or the URL of a checkpoint.
    The build report goes to standard error, the path of the engine directory to standard output.
    """
    if is_engine_dir(Path(config)):
        raise ConfigError(f"{config} is an engine directory already", hint="build from its config.yaml or checkpoint")
    log_to_stderr("info")
    opened = targets.engine_dir_of(
        config,
        targets.read_environment(config),
        out,
        device=device,
        force=force,
        overrides={
            "quantization": quantization,
            "convert": convert,
            "answer_tokens": answer_tokens,
            "route": route,
            "pooling": pooling,
        },
        texts=texts,
        min_cosine=min_cosine,
    )
    click.echo(opened.path)
