"""Where an autoencoder's rows came from, so that it never meets rows of another place without a word."""

from pydantic import BaseModel, ConfigDict


class Site(BaseModel):
    """The rows that an autoencoder was trained on. None: not known (an imported checkpoint may not say)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    """Digest of the model's weights (Fingerprint.digest)."""
    hookpoint: str | None = None
    """`module.path:in`, `:out` or `:update`."""
    steps: tuple[int, ...] | None = None
    """Denoising steps, 0-based; None where all of the schedule's, or not known."""
    branches: tuple[str, ...] | None = None
    grid: tuple[int, ...] | None = None
    """Token grid [h, w] or [tokens]; another resolution has another grid."""

    def differences(self, other: "Site") -> list[str]:
        """What both know and do not agree on, one line each ("hookpoint: A here, B there"); empty if they fit."""
        found = []
        for name in type(self).model_fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs is not None and mine != theirs:
                found.append(f"{name}: {mine} and {theirs}")
        return found
