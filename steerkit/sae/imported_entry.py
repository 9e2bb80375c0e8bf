"""Autoencoders that were trained elsewhere, as params.yaml names them among those that are trained here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from steerkit.errors import UserError, UserErrors
from steerkit.models.fingerprint import Fingerprint
from steerkit.models.folder_digest import content_digest, digest_of
from steerkit.sae.sae import Sae
from steerkit.sae.sae_file import CONFIG, WEIGHTS, describe_sae, load_sae
from steerkit.sae.site import require_hookpoint
from steerkit.sae.site_statement import SiteStatement


class ImportedEntry(SiteStatement):
    """A folder that `steerkit sae import` wrote, what it must contain, and what its checkpoint did not say of its rows.

    The digest is what makes the folder an input: a stage sees params.yaml, and not what lies in a folder named there.
    """

    folder: str = Field(min_length=1, description="Folder of the autoencoder, from the root of the project.")
    digest: str | None = Field(default=None, description="SHA-256 of its two files; left out, the message says it.")
    allow_mismatch: bool = Field(default=False, description="Take it although its rows were others, or are not known.")


def split_imported(saes: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, ImportedEntry]]:
    """Entries to train, and entries with a `folder`. UserErrors with every problem as `where.NAME.key: message`."""
    train, imported, problems = {}, {}, []
    for name, values in saes.items():
        if not isinstance(values, Mapping) or "folder" not in values:
            train[name] = values
            continue
        try:
            imported[name] = ImportedEntry.model_validate(values)
        except ValidationError as error:
            problems += [f"{'.'.join([where, name, *map(str, e['loc'])])}: {e['msg']}" for e in error.errors()]
    if problems:
        raise UserErrors("params.yaml: these autoencoders cannot be taken:", problems)
    return train, imported


def load_imported(entry: ImportedEntry, name: str, model: Fingerprint | None = None) -> Sae:
    """The autoencoder of an entry, with all that is stated of its site; `model` is that of the rows that it will meet.

    Raises UserError for other files than the digest says, and where it says otherwise itself.
    """
    folder = Path(entry.folder)
    sae = load_sae(folder)
    # What is loaded: a page beside it is no other autoencoder. Entries of steerkit 0.1 have the digest of all files.
    found = digest_of((name, folder / name) for name in sorted((CONFIG, WEIGHTS)))
    if entry.digest != found and entry.digest != content_digest(folder):
        why = "no digest is written for it" if entry.digest is None else f"it was {entry.digest[:12]} when it was named"
        raise UserError(
            f"The autoencoder {name} in {folder} has the digest {found}, and {why}; if it is the one you mean, write "
            f"digest: {found} beside its folder in params.yaml."
        )
    sae = replace(sae, site=entry.complete(sae.site, name, model, describe_sae(folder).training))
    require_hookpoint(sae.site, name)
    return sae
