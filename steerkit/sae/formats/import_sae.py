"""A checkpoint of another library, made one of ours on the disk."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from steerkit.errors import UserError, UserErrors
from steerkit.models.folder_digest import content_digest
from steerkit.sae.formats.checkpoint import Checkpoint
from steerkit.sae.formats.imported import ImportedSae
from steerkit.sae.formats.registry import read_checkpoint
from steerkit.sae.new_folder import check_new_folder
from steerkit.sae.sae_description import Provenance
from steerkit.sae.sae_file import describe_sae, is_sae_folder, save_sae
from steerkit.sae.site_statement import SiteStatement


def import_sae(
    path: Path, folder: Path, name: str | None = None, *, allow_lossy: bool = False, hookpoint: str | None = None,
    model: str | None = None, steps: Literal["all"] | tuple[int, ...] | None = None,
    branches: Literal["all"] | tuple[Literal["cond", "uncond"], ...] | None = None,
    resolution: Literal["any"] | tuple[int, int] | None = None,
) -> tuple[ImportedSae, str]:  # fmt: skip
    """Write the autoencoder at `path` to `folder`; it, and the name of its format (`name`, where that is given).

    `hookpoint`, `model` (its digest), `steps` (from 0), `branches`, `resolution` (height, width): which rows it was
    trained on, where its checkpoint does not say; what nobody says is unknown, and fits no rows. Raises UserError for
    what cannot be read, for one that loses something unless `allow_lossy`, where its checkpoint says otherwise, and
    where `folder` holds anything but an autoencoder of ours.
    """
    stated = SiteStatement(model=model, hookpoint=hookpoint, steps=steps, branches=branches, resolution=resolution)
    check_new_folder(folder, is_sae_folder)
    found, checkpoint, name = read_checkpoint(path, name)
    if folder.resolve() == checkpoint.folder.resolve():
        raise UserError(f"{folder} is where the checkpoint itself is; choose another folder.")
    if found.lossy and not allow_lossy:
        raise UserErrors(
            f"{checkpoint.weights} holds what is lost on import; add --allow-lossy if you can do without:",
            list(found.lossy),
        )
    site = stated.complete(found.sae.site, f"in {checkpoint.weights}", facts=found.facts)
    found = replace(found, sae=replace(found.sae, site=site))
    save_sae(
        found.sae,
        folder,
        _plain(found.facts),
        provenance=_provenance(found, checkpoint, name),
        lossy=found.lossy,
        extra=found.extra,
    )
    return found, name


def _provenance(found: ImportedSae, checkpoint: Checkpoint, name: str) -> Provenance | None:
    if name == "steerkit":
        return describe_sae(checkpoint.folder).provenance
    return Provenance(
        format=name,
        library=found.library,
        version=found.version,
        files={path.name: content_digest(path) for path in checkpoint.files},
        config=_plain(found.config),
    )


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON can hold it: a pickle's configuration may have a torch.dtype in it, whose name will do."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(found), default=str))
    return plain
