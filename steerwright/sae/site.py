"""Where an autoencoder's rows came from, so that it never meets rows of another place without a word."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from steerwright.errors import UserError
from steerwright.models.fingerprint import same_digest

if TYPE_CHECKING:
    from steerwright.activations.store.reader import Store
    from steerwright.models.hookpoints import Hookpoint


PARTS = ("model", "hookpoint", "steps", "branches", "resolution")
"""What an imported checkpoint may leave unsaid. The grid follows from model and resolution."""


class Site(BaseModel):
    """The rows that an autoencoder was trained on. None: all of them or none there (a text has no resolution)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    """Digest of the model's weights (Fingerprint.digest)."""
    hookpoint: str | None = None
    """`module.path:in`, `:out` or `:update`, and `:image` or `:text` where a module has both tokens."""
    steps: tuple[int, ...] | None = None
    """Denoising steps, 0-based; None: all of the schedule's."""
    branches: tuple[str, ...] | None = None
    grid: tuple[int, ...] | None = None
    """Token grid [h, w] or [tokens]; another resolution has another grid."""
    resolution: tuple[int, int] | None = None
    """Height and width of the pictures in pixels. It says more than the grid: FLUX's noise levels depend on it."""
    unknown: tuple[str, ...] | None = None
    """Those of `PARTS` that neither an imported checkpoint nor its user says: they fit no rows. None: not imported."""

    @model_serializer(mode="wrap")
    def _what_is_known(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Files of autoencoders that were trained here stay as they were before there were these two.
        found: dict[str, Any] = dump(self)
        for name in ("resolution", "unknown"):
            if getattr(self, name) is None:
                found.pop(name, None)
        return found

    def imported(self) -> "Site":
        """The same, of a checkpoint of another library: what it does not say is unknown."""
        return self.model_copy(update={"unknown": tuple(name for name in PARTS if getattr(self, name) is None)})

    def differences(self, other: "Site") -> list[str]:
        """What they do not agree on, one line each ("hookpoint: A here, B there"); empty if they fit.

        `other` is what an autoencoder of this site meets; what rows do not have is not compared. Rows of some of its
        steps and branches fit, rows of others do not: one that was trained on all steps fits any, one that was trained
        on step 9 does not fit step 12, and one of which nobody says the steps fits none.
        """
        found = []
        for name in ("model", "hookpoint", "steps", "branches", "grid", "resolution"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if name == "branches" and (other.hookpoint or "").startswith("transformer."):
                continue  # FLUX has its guidance embedded: there is one branch
            if name in (self.unknown or ()):
                met = f"a grid of {other.grid}" if name == "resolution" and theirs is None and other.grid else theirs
                found += [f"{name}: not known and {met}"] if met is not None else []
                continue
            if mine is None or theirs is None or mine == theirs:
                continue
            if name == "model" and same_digest(mine, theirs):
                continue
            if name in ("steps", "branches") and set(theirs) <= set(mine):
                continue
            found.append(f"{name}: {mine} and {theirs}")
        return found


def require_fit(own: Site, met: Site, what: str, *, allow_mismatch: bool = False) -> list[str]:
    """What `own`, the site of the autoencoder `what`, and the rows that it is to meet differ in: [] if they fit.

    Raises UserError that names each difference, unless `allow_mismatch`.
    """
    found = own.differences(met)
    if found and not allow_mismatch:
        unknown = [name for name in own.unknown or () if any(line.startswith(f"{name}:") for line in found)]
        how = (
            "What is not known fits no rows. If you know it, state it: `steerwright sae import` with "
            f"{', '.join('--' + name for name in unknown)}, or {', '.join(name + ':' for name in unknown)} beside its "
            "folder in params.yaml. Else choose"
            if unknown
            else "Choose"
        )
        raise UserError(
            f"The autoencoder {what} {'may have been' if len(unknown) == len(found) else 'was'} trained on other rows "
            "than those that it is to be used on:\n"
            + "\n".join(f"  - {line}" for line in found)
            + f"\nIts own come first. {how} another autoencoder, or allow the mismatch (allow_mismatch) if you mean it."
        )
    return found


def store_site(store: "Store", hookpoint: "Hookpoint", steps: tuple[int, ...] | None = None) -> Site:
    """The site of a store's rows at a hookpoint; of some of its steps, by default all."""
    manifest = store.manifest
    collected, branches = manifest.provenance.get("steps"), manifest.provenance.get("branches")
    return Site(
        model=manifest.model.digest,
        hookpoint=str(hookpoint),
        steps=steps if steps is not None or collected is None else tuple(collected),
        branches=None if branches is None else tuple(branches),
        grid=store.layout(hookpoint).grid,
        resolution=manifest.provenance.get("resolution"),
    )
