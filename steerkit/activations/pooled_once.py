"""Pooled residual streams of texts of which some are the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from steerkit.activations.collect_residuals import AnsweredText
from steerkit.activations.residuals import pooled_residuals
from steerkit.models.language.encode import Role
from steerkit.models.language.load import LanguageModel


def pooled_once(
    model: LanguageModel, texts: Sequence[AnsweredText], role: Role, policy: str, *, batch_size: int = 32
) -> Tensor:
    """As `pooled_residuals`, float32 [layers, texts, d]: each text is read once, beside others of about its length."""
    once = sorted(dict.fromkeys(texts), key=lambda one: len(one.text) + len(one.prompt or ""))
    rows = pooled_residuals(
        model, [one.text for one in once], [one.prompt for one in once], role=role, policy=policy,
        batch_size=batch_size,
    )  # fmt: skip
    place = {one: number for number, one in enumerate(once)}
    return rows[:, torch.tensor([place[one] for one in texts])].float().cpu()
