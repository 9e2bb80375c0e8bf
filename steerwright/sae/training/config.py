"""What a sparse autoencoder is to be, and how it is trained."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, model_validator

from steerwright.sae.architectures import ARCHITECTURES

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


class SaeConfig(BaseModel):
    """One autoencoder to train. Losses and strengths are in units of scaled rows, whose mean norm is sqrt(d)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = "batchtopk"
    """A name in `sae.architectures`."""
    latents: int = Field(gt=0)
    """Number of latents, n."""
    k: int | None = Field(default=None, gt=0)
    """Active latents of a row: at most for topk, on average for batchtopk and matryoshka."""
    l1: float | None = Field(default=None, ge=0)
    """relu: weight of the mean over rows of the latents' sum, over sqrt(d), beside FVU."""
    l0: float | None = Field(default=None, ge=0)
    """jumprelu: weight of the mean number of active latents of a row, beside FVU."""
    threshold: float = Field(default=0.1, gt=0)
    """jumprelu: where the thresholds start."""
    bandwidth: float = Field(default=0.5, gt=0)
    """jumprelu: width of the window around a threshold in which pre-activations move it (arXiv:2407.14435)."""
    auxk: float = Field(default=1 / 32, ge=0)
    """Weight of AuxK, the dead latents' attempt at what the living leave over (arXiv:2406.04093); 0: without."""
    auxk_latents: int | None = Field(default=None, gt=0)
    """Dead latents that a row's attempt uses; half the rows' width if not given."""
    multi_topk: bool = False
    """topk: add FVU with 4 k latents, at an eighth of its weight, so that more latents than k may be used later."""
    groups: list[float] | None = None
    """matryoshka: shares of the latents in each nested group, smallest prefix first, summing to 1."""
    seed: int = 0
    """Of the directions that latents start from."""
    dead_after_rows: int = Field(default=10_000_000, gt=0)
    """A latent is dead when it has not fired (been above 0) in so many rows."""
    learning_rate: float | None = Field(default=None, gt=0)
    """2e-4 / sqrt(n / 2^14) if not given (arXiv:2406.04093)."""
    warm_up_rows: int = Field(default=0, ge=0)
    """Rows over which the learning rate, and the weight of l1 or l0, grow from 0."""
    bf16_encoder: bool = False
    """Multiply rows by the encoder in bfloat16 (products summed in float32); weights and the rest stay float32."""
    normalise: bool = True
    """Scale rows so that their mean norm is sqrt(d); otherwise they are learned as they come."""

    @property
    def rate(self) -> float:
        """Peak learning rate of Adam."""
        return self.learning_rate if self.learning_rate is not None else 2e-4 / math.sqrt(self.latents / 2**14)

    @property
    def group_ends(self) -> list[int]:
        """Ends of the nested groups, the last one n; [n] for architectures without groups."""
        if "groups" not in ARCHITECTURES[self.architecture].settings:
            return [self.latents]
        shares = self.groups if self.groups is not None else [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]
        ends = [round(sum(shares[: i + 1]) * self.latents) for i in range(len(shares) - 1)]
        return [*ends, self.latents]

    @model_validator(mode="after")
    def _belongs_together(self) -> SaeConfig:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture {self.architecture!r} does not exist; choose {', '.join(ARCHITECTURES)}")
        own = ARCHITECTURES[self.architecture]
        wanted = own.sparse_by
        for name in ("k", "l1", "l0"):
            given = getattr(self, name) is not None
            if given != (name == wanted):
                verb = "is of another architecture; take it out" if given else "is missing"
                raise ValueError(f"{name} {verb}: {self.architecture} is made sparse by {wanted}")
        if self.k is not None and self.k > self.latents:
            raise ValueError(f"k = {self.k} exceeds the {self.latents} latents; lower k or raise latents")
        for name in sorted({name for known in ARCHITECTURES.values() for name in known.settings} - {*own.settings}):
            if getattr(self, name) != type(self).model_fields[name].default:
                whose = ", ".join(known.name for known in ARCHITECTURES.values() if name in known.settings)
                raise ValueError(f"{name} belongs to {whose}, not to {self.architecture}; take it out")
        if self.multi_topk and self.k is not None and 4 * self.k > self.latents:
            raise ValueError(f"multi_topk uses 4 k = {4 * self.k} of {self.latents} latents; lower k or raise latents")
        shares = self.groups or [1.0]
        if any(share <= 0 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError(f"groups are {self.groups}: shares of the latents, each above 0, that sum to 1")
        if self.auxk_latents is not None and self.auxk == 0:
            raise ValueError("auxk_latents says how AuxK is computed, but auxk is 0; take it out, or set auxk")
        ends = self.group_ends
        if any(end <= start for start, end in zip([0, *ends], ends, strict=False)):
            raise ValueError(f"a group of {self.latents} latents would be empty (groups end at {ends}); raise latents")
        return self


class TrainingAmounts(BaseModel):
    """How much is trained on, and held, at a time. All in rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=1, description="Rows that every autoencoder is trained on; more than there are: epochs.")
    batch_rows: int = Field(ge=1, description="Rows of one step of the optimiser.")
    pool_rows: int = Field(ge=2, description="Rows in memory to shuffle, at each hookpoint.")
    checkpoint_rows: int = Field(ge=1, description="A kill costs at most the work on so many rows.")
    seed: int = Field(ge=0, description="Of the order of the rows.")
