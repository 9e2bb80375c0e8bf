"""The shapes and kinds of numbers in jaxtyping annotations, checked at every call while the tests run."""

from pathlib import Path
from types import FunctionType

from beartype import beartype
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]


def check_shapes() -> None:
    """Check calls into every module of the library that has such annotations; before any of them is imported."""
    files = [
        path for path in (ROOT / "steerwright").rglob("*.py") if "from jaxtyping import" in path.read_text("utf-8")
    ]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    install_import_hook(modules, "tests.shapes.only_shapes")


def only_shapes(function: FunctionType) -> FunctionType:
    """`function` with its jaxtyping annotations checked, and no others: tests pass stand-ins for models and stores."""
    shapes = {name: kind for name, kind in function.__annotations__.items() if "jaxtyping." in repr(kind)}
    if not shapes:
        return function
    function.__annotations__ = shapes
    return beartype(function)
