"""The environment variables of docs/cli.md: every name that openbei reads, and where it counts."""

from openbei import variables as names
from openbei.secrets import CLOUD_PREFIXES, PREFIX
from tools.reference.markdown import code, table

BUILD = {
    "dtype": "data type of the weights: `bfloat16`, `float16` (stored as `bfloat16` for CPUs) or `float32`",
    "quantization": "as `trt_llm.build.quantization_type`, which it overrides",
    "convert": "`lm-head`, as `bei build --convert`",
    "answer_tokens": "as `bei build --answer-tokens`",
    "route": "as `bei build --route`",
    "pooling": "as `bei build --pooling`",
}
"""What decides a build -> its meaning."""

SECRETS = {
    names.KEYFILE_PASSWORD: "password of `--ssl-keyfile`",
    **dict.fromkeys(names.HUB_TOKENS, "token for the Hugging Face Hub"),
    f"{PREFIX}NAME": "the secret that a config names in `runtime_secret_name`",
    **{f"{prefix}…": "access to an object store: [secrets](sources.md#secrets)" for prefix in CLOUD_PREFIXES},
}

MACHINE = {
    "OPENBEI_CACHE": "cache folder: engine directories built without `--out`, and what is fetched from object stores "
    "and URLs; by default `openbei` in `XDG_CACHE_HOME`",
    "TRITON_CACHE_DIR": "folder of compiled GPU kernels; by default `kernels` in the cache folder",
    "XDG_CACHE_HOME": "parent folder of caches; by default `~/.cache`",
    "HF_HOME": "cache folder of the Hugging Face libraries; by default `huggingface` in `XDG_CACHE_HOME`",
    "HF_HUB_CACHE": "cache of downloaded checkpoints; by default `hub` in `HF_HOME`",
    "HUGGINGFACE_HUB_CACHE": "older name of `HF_HUB_CACHE`",
    "OPENBEI_SECRETS": "folder with a file for each secret; by default `/secrets`",
    "OPENBEI_SECRET_NAME": "name of the secret for a TARGET that is a URL; in a config it is `runtime_secret_name`",
    "OPENBEI_CLOUD_CREDENTIALS": "`metadata` lets object stores use the credentials of this cloud machine, from "
    "169.254.169.254; the default, `variables`, does not",
    "HF_ENDPOINT": "address of the Hub or of a mirror",
    "HF_HUB_OFFLINE": "`1`: download nothing; use only what is in the cache",
    "OPENBEI_OFFLINE": "the same; takes precedence over `HF_HUB_OFFLINE`",
}
"""Variables of the process only."""

CONFIG_ONLY = ("CONVERT", "ANSWER_TOKENS", "ROUTE")
"""Decide a build only from a config: other programs may set them for a process."""


def variables() -> str:
    """The table, in the order: options, builds, secrets, machine, no effect, refused."""
    rows: list[tuple[str, str, str]] = []
    for option, known in names.OPTIONS.items():
        rows.append((", ".join(map(code, known)), f"`bei serve` {code(option)}", "process, config"))
    for subject, known in names.BUILD.items():
        for name in known:
            rows.append((code(name), BUILD[subject], "config" if name in CONFIG_ONLY else "process, config"))
    rows += [(code(name), meaning, "process, config") for name, meaning in SECRETS.items()]
    rows += [(code(name), meaning, "process") for name, meaning in MACHINE.items()]
    idle = {name: why for name, why in names.WITHOUT_EFFECT.items() if name not in MACHINE}
    rows += [(code(name), f"no effect: {why}", "") for name, why in idle.items()]
    rows += [(code(name), f"refused: {why}", "") for name, why in names.REFUSED.items()]
    return table(("variable", "meaning", "read from"), rows)
