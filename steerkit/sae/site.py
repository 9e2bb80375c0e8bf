"""Where an autoencoder's rows came from, so that it never meets rows of another place without a word."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from steerkit.errors import UserError
from steerkit.models.fingerprint import same_digest

if TYPE_CHECKING:
    from steerkit.models.hookpoint import Hookpoint
    from steerkit.models.load import LoadedModel


class Site(BaseModel):
    """The rows that an autoencoder was trained on. None: not known (an imported checkpoint may not say)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    """Digest of the model's weights (Fingerprint.digest)."""
    hookpoint: str | None = None
    """`module.path:in`, `:out` or `:update`, and `:image` or `:text` where a module has both tokens."""
    steps: tuple[int, ...] | None = None
    """Denoising steps, 0-based; None where all of the schedule's, or not known."""
    branches: tuple[str, ...] | None = None
    grid: tuple[int, ...] | None = None
    """Token grid [h, w] or [tokens]; another resolution has another grid."""
    resolution: tuple[int, int] | None = None
    """Height and width of the pictures in pixels. It says more than the grid: FLUX's noise levels depend on it."""

    @model_serializer(mode="wrap")
    def _what_is_known(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Files of autoencoders that do not say a resolution stay as they were before there was one.
        found: dict[str, Any] = dump(self)
        if self.resolution is None:
            found.pop("resolution", None)
        return found

    def differences(self, other: "Site") -> list[str]:
        """What both know and do not agree on, one line each ("hookpoint: A here, B there"); empty if they fit.

        `other` is what an autoencoder of this site meets. Rows of some of its denoising steps fit, rows of others do
        not: one that was trained on all steps fits any, one that was trained on step 9 does not fit step 12.
        """
        found = []
        for name in type(self).model_fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is None or theirs is None or mine == theirs:
                continue
            if name == "model" and same_digest(mine, theirs):
                continue
            if name == "steps" and set(theirs) <= set(mine):
                continue
            found.append(f"{name}: {mine} and {theirs}")
        return found


def require_fit(own: Site, met: Site, what: str, *, allow_mismatch: bool = False) -> list[str]:
    """What `own`, the site of the autoencoder `what`, and the rows that it is to meet differ in: [] if they fit.

    Raises UserError that names each difference, unless `allow_mismatch`.
    """
    found = own.differences(met)
    if found and not allow_mismatch:
        raise UserError(
            f"The autoencoder {what} was trained on other rows than those that it is to be used on:\n"
            + "\n".join(f"  - {line}" for line in found)
            + "\nIts own come first. Choose another autoencoder, or allow the mismatch if you mean it."
        )
    return found


def site_in(
    model: "LoadedModel",
    hookpoint: "Hookpoint",
    *,
    steps: tuple[int, ...] | None = None,
    branches: tuple[str, ...] | None = None,
    height: int | None = None,
    width: int | None = None,
) -> Site:
    """The site of rows that `model` gives at `hookpoint` for pictures of this size; by default its own."""
    from steerkit.models.denoiser import image_grid
    from steerkit.models.generate import image_size

    size = image_size(model, height, width)
    grid = image_grid(model.pipeline, *size) if hookpoint.tokens == "image" else None
    return Site(
        model=model.fingerprint.digest, hookpoint=str(hookpoint), steps=steps, branches=branches, grid=grid,
        resolution=size,
    )  # fmt: skip
