"""How a concept's latents become edits: where, which latents, what becomes of them, and in which images."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from steerkit.steering.edit import EditBranch
from steerkit.steering.latent_operators import Source

Action = Literal["erase", "add"]
Change = Literal["set", "set_means", "move", "add", "scale", "clamp", "scale_by_mean", "replace"]
Rank = Literal["cohens_d", "mean_difference", "share_difference"]


class LatentRecipe(BaseModel):
    """What `latent_edits` makes of a concept; places are names of autoencoders, means those of images at each step.

    `change`, for erasing and for adding alike, from the means of the images without the concept and with it:
    `set`: each token's latents take the mean that is wanted; `set_means`: the image's mean does, and what lies where
    stays; `move`: each token goes as much of the way between the means as it has of the concept, see `MoveLatents`;
    `add`: the difference of the two means on every token; `scale`: times `factor` (0 is plain ablation);
    `clamp`: latents that are higher with the concept stay below the mean without it (erasing), or at least at the mean
    with it (adding); `scale_by_mean`: SAeUron's, with its negative `factor` (arXiv:2501.18052); `replace`: tokens on
    which a latent of the concept's own exceeds `where` (0 if None) take other content, whole, from `source`
    (arXiv:2606.31699; only for erasing).

    `top` latents are chosen anew for each step by the size of `rank`, on both sides: also those that are lower with the
    concept; with `own_only` only those that are higher. `one_sided`: set and set_means move only latents that lie on
    the concept's side of the wanted mean. `toward`: another value of the same axis, whose means are wanted instead of
    those of all images without the concept (only for erasing).

    `gate`: act only in images whose presence of the concept at `gate_at` (an autoencoder; the first place if None),
    by `gate_top` latents, exceeds this: 0 is the mean of images without the concept, 1 of those with it. After step
    `gate_until` what was found then holds for the rest of the run.
    `where`: act only on tokens on which one of the concept's own latents exceeds this.
    `window`: first and last step, 0-based, both inside. `compat: saeuron`: the published sign of the error, which only
    goes with scale_by_mean, without a gate, and at strength 1: what is varied there is `factor`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: tuple[str, ...] = Field(min_length=1)
    change: Change = "set"
    top: int = Field(default=64, ge=1)
    rank: Rank = "cohens_d"
    own_only: bool = False
    one_sided: bool = False
    factor: float | None = None
    toward: str | None = None
    branch: EditBranch = "cond"
    window: tuple[int, int] | None = None
    gate: float | None = None
    gate_at: str | None = None
    gate_top: int = Field(default=64, ge=1)
    gate_until: int | None = Field(default=None, ge=0)
    where: float | None = None
    source: Source | None = None
    compat: Literal["saeuron"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "LatentRecipe":
        if (self.factor is not None) != (self.change in ("scale", "scale_by_mean")):
            raise ValueError("`factor` belongs to the changes scale and scale_by_mean, which need one")
        if self.compat and (self.change != "scale_by_mean" or self.gate is not None or self.where is not None):
            raise ValueError("`compat: saeuron` goes with change: scale_by_mean alone, without gate and where")
        if (self.source is not None) != (self.change == "replace"):
            raise ValueError("`source` (uncond or neighbours) belongs to the change replace, which needs one")
        if self.toward is not None and self.change not in ("set", "set_means", "move", "add"):
            raise ValueError("`toward` goes with the changes set, set_means, move and add")
        if self.one_sided and self.change not in ("set", "set_means"):
            raise ValueError("`one_sided` goes with the changes set and set_means; others would make nothing of it")
        usual = {"gate_at": None, "gate_until": None, "gate_top": 64}
        if self.gate is None and (idle := [name for name in usual if getattr(self, name) != usual[name]]):
            raise ValueError(f"{', '.join(idle)}: this says how `gate` is measured; give `gate` too, or leave it out")
        return self
