"""One forward of a language model over whole texts."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor


def forward_inputs(model: Any, ids: Tensor, mask: Tensor) -> dict[str, Any]:
    """What a forward of `model` over `ids` [n, t] takes, so that padding (`mask` [n, t] false) counts nowhere.

    Places are counted from each row's first own token, as generation does: under left padding they would otherwise
    begin with the padding.
    """
    called: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long(), "use_cache": False}
    if "position_ids" in inspect.signature(model.forward).parameters:
        called["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
    return called
