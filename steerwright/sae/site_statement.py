"""What a user states about the rows that an imported autoencoder was trained on, where its checkpoint does not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.site import PARTS, Site


class SiteStatement(BaseModel):
    """One value for each part of a site; None where nothing is stated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(default=None, description="The model's name, source or digest.")
    hookpoint: str | None = Field(default=None, description="Where it belongs: module.path, and :in, :out or :update.")
    steps: Literal["all"] | tuple[int, ...] | None = Field(default=None, description="Denoising steps, from 0, or all.")
    branches: Literal["all"] | tuple[Literal["cond", "uncond"], ...] | None = Field(
        default=None, description="Halves of guidance, or all; cond where there is only one (FLUX)."
    )
    resolution: Literal["any"] | tuple[int, int] | None = Field(
        default=None, description="Height and width of the pictures in pixels, or any."
    )

    def complete(
        self, site: Site, what: str, model: Fingerprint | None = None, facts: Mapping[str, Any] | None = None
    ) -> Site:
        """`site` with what is stated, of the autoencoder `what`. `model`: the one that the rows are of, which may be
        stated by name. `facts`: what its checkpoint says of its training, which may name a layer but no module.
        Raises UserError where the autoencoder itself says otherwise."""
        stated = {name: value for name in PARTS if (value := getattr(self, name)) is not None}
        if model is not None and self.model in (model.name, model.source):
            stated["model"] = model.digest
        if self.hookpoint is not None:
            stated["hookpoint"] = str(Hookpoint.parse(self.hookpoint))
            named = (facts or {}).get("layer")
            if named is not None and site.hookpoint is None and not _in_layer(stated["hookpoint"], str(named)):
                raise UserError(
                    f"The autoencoder {what} belongs to {stated['hookpoint']}, you say, but its checkpoint says layer "
                    f"{named}. Correct the hookpoint."
                )
        known = dict(stated) | {name: None for name, value in stated.items() if value in ("all", "any")}
        for name, value in known.items():
            own, open_ = getattr(site, name), name in (site.unknown or ()) or name == "hookpoint"
            if own != value and not (own is None and open_):
                raise UserError(
                    f"The autoencoder {what} belongs to {_words(name, own)}, and not to {_words(name, value)}."
                )
        unknown = None if site.unknown is None else tuple(name for name in site.unknown if name not in known)
        return site.model_copy(update={**known, "unknown": unknown})


def _in_layer(hookpoint: str, named: str) -> bool:
    """Whether a hookpoint may be in the layer that others call `named` (15, layer15, transformer_blocks.15); by its
    number, as no two libraries spell their modules alike."""
    numbers = re.findall(r"\d+", named)
    return not numbers or numbers[0] in re.findall(r"(?<=\.)\d+(?=[.:]|$)", hookpoint)


def _words(name: str, value: object) -> str:
    if name == "hookpoint":
        return str(value)
    return f"{name} {'all' if value is None else value}"
