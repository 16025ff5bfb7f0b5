"""openbei: an inference engine and server for embedding models. The Python API is `Model`, which is imported lazily."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openbei.errors import InputError, OpenbeiError, WrongTaskError
    from openbei.model import Model

__version__ = "0.1.0"

__all__ = ["InputError", "Model", "OpenbeiError", "WrongTaskError", "__version__"]

_MODULES = {
    "Model": "openbei.model",
    "OpenbeiError": "openbei.errors",
    "InputError": "openbei.errors",
    "WrongTaskError": "openbei.errors",
}
"""Name -> the module that is imported when the name is first used, so that `import openbei` takes no time."""


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _MODULES:
        raise AttributeError(f"module 'openbei' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
