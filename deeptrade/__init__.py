"""DeepTrade: research on market data files too large for the machine they are on."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # `python -m deeptrade` comes here before a typing.py in the working folder is out of the way
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that `import deeptrade` stays light and TensorFlow is imported only by what needs it.
_HOMES = {
    "MemoryEfficientGenerator": "data.generator",
    "Trainer": "training.loop",
    "MemoryMonitor": "memory",
    "Schema": "sources.schema",
    "DeepTradeError": "errors",
    "open_dataset": "data.opening",
    "open_store": "data.opening",
    "compile_store": "store",
    "profile": "profiles.profile",
    "optimize": "planning.optimize",
    "predict": "judging.predict",
    "run": "notebook.run",
}
_EXTENSION = {"load_ipython_extension": "notebook.cell_memory", "unload_ipython_extension": "notebook.cell_memory"}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name) or _EXTENSION.get(name)
    if home:
        return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
