"""steerwright: steer generative models by editing their activations, and measure what happened.

The few names that most programs need are here; each is loaded when it is first used, so that the import costs nothing:

    from steerwright import add, erase, make_pictures, open_model

Their types are in __init__.pyi.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "add": "steering.pictures",
    "add_to_text": "steering.pictures",
    "erase": "steering.pictures",
    "generate": "models.generate",
    "load_vectors": "vectors.formats.vectors_file",
    "make_pictures": "steering.pictures",
    "open_model": "steering.pictures",
    "replace": "steering.pictures",
    "save_vectors": "vectors.formats.vectors_file",
    "steer": "steering.apply",
    "steered_batches": "steering.apply",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
