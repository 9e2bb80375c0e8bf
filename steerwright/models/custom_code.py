"""No code that comes with a model is ever run, and nobody is asked whether it may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steerwright.errors import UserError

# What every `from_pretrained` of an Auto class of transformers is given. Left unset, it asks on the terminal.
NO_CODE = {"trust_remote_code": False}


def wants_code(error: Exception) -> bool:
    """Whether `error` is how transformers or diffusers says that a model cannot be loaded without code of its own."""
    return "trust_remote_code" in str(error)


def code_refused(who: str, source: str, folder: Path | None = None) -> UserError:
    """The message for a model that needs code of its own; `who` begins it (Model 'x'), `folder` holds its configs."""
    where = "" if folder is None else _named_code(folder)
    return UserError(
        f"{who}: {source} needs custom code to be loaded{where}, and steerwright runs no code that comes with a model. "
        "Name a model whose class the installed transformers or diffusers has itself, upgrade these, or save a "
        "converted copy of it without custom code."
    )


def check_components(who: str, index: dict[str, Any], source: str) -> None:
    """Raise UserError for a pipeline's model_index.json in which a part is a class of a file beside it."""
    from diffusers import pipelines

    for part, value in index.items():
        if part.startswith("_") or not isinstance(value, list) or not isinstance(value[0], str):
            continue
        library = value[0].split(".")[0]
        # `stable_diffusion` and the like, which its safety checker is from, are modules inside of diffusers.
        if library not in ("diffusers", "transformers") and not hasattr(pipelines, library):
            raise UserError(
                f"{who}: model_index.json of {source} takes {part} from custom code ({library}.py, class {value[1]}), "
                "and steerwright runs no code of a model. Name a model whose parts are classes of diffusers "
                "and transformers."
            )


@contextmanager
def never_asking() -> Iterator[None]:
    """Inside, transformers does not ask on the terminal where a library in between leaves `trust_remote_code` unset."""
    from transformers import dynamic_module_utils

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # the seconds that an answer is waited for
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def _named_code(folder: Path) -> str:
    """Where the folder's configs name code, in words that follow a message; empty where none does."""
    for name in ("config.json", "tokenizer_config.json"):
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        named = content.get("auto_map") if isinstance(content, dict) else None
        if named:
            first = next(iter(named.values())) if isinstance(named, dict) else named
            first = next((one for one in first if one), first) if isinstance(first, list) else first
            return f" (auto_map in its {name}: {first})"
    return ""


# Adapters (LoRA and others of peft) that lie beside a model's weights.

ADAPTER = "adapter_config.json"


def check_adapters(who: str, folder: Path, *parts: Path) -> None:
    """Raise UserError where an adapter lies in `folder`, or in one of `parts`, that loading would leave out.

    transformers applies an adapter where peft is installed, and ignores it without a word where it is not; what
    diffusers makes of one in the folder of a pipeline's part differs by the part. `who` begins the message (Model 'x').
    """
    from transformers.utils import is_peft_available

    beside = next((part for part in parts if (part / ADAPTER).is_file()), None)
    if beside is not None:
        raise UserError(
            f"{who}: an adapter lies beside the weights of a part ({beside / ADAPTER}), where it is not applied. "
            + _MERGE
        )
    if not (folder / ADAPTER).is_file():
        return
    if not is_peft_available():
        raise UserError(
            f"{who}: an adapter lies beside the weights ({folder / ADAPTER}), which would be left out, because peft is "
            f"not installed. Install peft, or: {_MERGE}"
        )
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(
            f"{who}: {folder / ADAPTER} has no adapter_model.safetensors beside it, and weights in another format, "
            f"which could run code, are not read. {_MERGE}"
        )


_MERGE = (
    "Merge it into the weights (peft: merge_and_unload, then save_pretrained) and name that folder; for the model "
    f"without the adapter, take {ADAPTER} away."
)
