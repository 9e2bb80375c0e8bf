"""What a sparse autoencoder is to be, and how it is trained."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from steerwright.sae.architectures import ARCHITECTURES, SaeConfig

# The learning rate over a training, in rows and not in steps, so that another batch size keeps its shape.

DECAY_SHARE = 0.2
"""The last fifth of the rows is trained with a rate that falls to 0, as SAELens and dictionary_learning do."""


def learning_rate(config: SaeConfig, seen: int, batch: int, rows: int) -> float:
    """The rate for a batch that comes after `seen` of `rows` rows.

    A linear rise over `warm_up_rows`, the peak, a linear fall to 0; the first batch moves, and so does the last one.
    """
    rise = min(1.0, (seen + batch) / config.warm_up_rows) if config.warm_up_rows else 1.0
    fall = min(1.0, (rows - seen) / (DECAY_SHARE * rows))
    return config.rate * rise * fall


def sae_config(**values: Any) -> SaeConfig:
    """The configuration that params.yaml describes, of the class of its `architecture` (batchtopk if not given).

    Raises ValueError for an architecture that does not exist and for a setting of another one, and pydantic's
    ValidationError for values that do not fit.
    """
    name = values.get("architecture", "batchtopk")
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture {name!r} does not exist; choose {', '.join(ARCHITECTURES)}")
    own = ARCHITECTURES[name].config
    for setting in values:
        whose = [known.name for known in ARCHITECTURES.values() if setting in known.config.model_fields]
        if whose and setting not in own.model_fields:
            raise ValueError(f"{setting} belongs to {', '.join(whose)}, not to {name}; take it out")
    found: SaeConfig = own.model_validate(values)
    return found


class TrainingAmounts(BaseModel):
    """How much is trained on, and held, at a time. All in rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=1, description="Rows that every autoencoder is trained on; more than there are: epochs.")
    batch_rows: int = Field(ge=1, description="Rows of one step of the optimiser.")
    pool_rows: int = Field(ge=2, description="Rows in memory to shuffle, at each hookpoint.")
    checkpoint_rows: int = Field(ge=1, description="A kill costs at most the work on so many rows.")
    seed: int = Field(ge=0, description="Of the order of the rows.")
