"""Where an autoencoder's rows came from, so that it never meets rows of another place without a word."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

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
