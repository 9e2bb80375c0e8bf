"""Adapters (LoRA and others of peft) that lie beside a model's weights."""

from __future__ import annotations

from pathlib import Path

from steerwright.errors import UserError

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
