"""Which autoencoders are trained, on how many rows and in what portions: what params.yaml says, checked at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.folder_digest import content_digest, digest_of
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.architectures import SaeConfig
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import CONFIG, WEIGHTS, describe_sae, load_sae, require_hookpoint
from steerwright.sae.site_statement import SiteStatement
from steerwright.sae.training.config import TrainingAmounts, sae_config
from steerwright.sae.training.loop import Planned

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_WHERE = ("hookpoint", "steps")


def parse_training(
    saes: Mapping[str, Any], amounts: Mapping[str, Any], known: Collection[Hookpoint], where: str = "latents.sae",
    *, empty: bool = False,
) -> tuple[dict[str, Planned], TrainingAmounts]:  # fmt: skip
    """Autoencoders by name and the amounts; `known` are the hookpoints that there are rows of. `empty`: none will do.

    UserErrors with every problem as `where.key: message`.
    """
    problems: list[str] = []
    planned: dict[str, Planned] = {}
    found = None
    try:
        found = TrainingAmounts.model_validate(amounts)
    except ValidationError as error:
        problems += problems_at(error, where)
    if found is not None and found.batch_rows > found.pool_rows // 2:
        problems.append(
            f"{where}.pool_rows: {found.pool_rows} rows hold fewer than two batches of {found.batch_rows}; rows of one "
            "picture would stay together. Raise pool_rows, at best to many batches"
        )
    if not saes and not empty:
        problems.append(f"{where}.saes: there is none to train; name at least one")
    for name, values in saes.items():
        place = f"{where}.saes.{name}"
        if not _NAME.fullmatch(str(name)):
            problems.append(f"{place}: the name becomes a folder's; use letters, digits, '_', '-' and '.'")
        if not isinstance(values, Mapping):
            problems.append(f"{place}: is {values!r}; give it a hookpoint, latents and what its architecture needs")
            continue
        config: SaeConfig | None = None
        try:
            config = sae_config(**{key: value for key, value in values.items() if key not in _WHERE})
        except ValidationError as error:
            problems += problems_at(error, place)
        except ValueError as error:
            problems.append(f"{place}: {error}")
        hookpoint = _hookpoint(values.get("hookpoint"), known, f"{place}.hookpoint", problems)
        steps = _steps(values.get("steps"), f"{place}.steps", problems)
        if config is not None and hookpoint is not None:
            planned[str(name)] = Planned(hookpoint, config, steps)
    if problems or found is None:
        raise UserErrors("params.yaml: these autoencoders cannot be trained:", problems)
    return planned, found


def _hookpoint(value: Any, known: Collection[Hookpoint], place: str, problems: list[str]) -> Hookpoint | None:
    names = ", ".join(map(str, known)) or "none"
    if not isinstance(value, str):
        problems.append(f"{place}: is {'missing' if value is None else repr(value)}; there are rows of {names}")
        return None
    try:
        hookpoint = Hookpoint.parse(value)
    except UserError as error:
        problems.append(f"{place}: {error}")
        return None
    if hookpoint not in known:
        problems.append(f"{place}: no rows were collected at {hookpoint}; there are rows of {names}")
        return None
    return hookpoint


def _steps(value: Any, place: str, problems: list[str]) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or any(type(step) is not int or step < 0 for step in value):
        problems.append(f"{place}: is {value!r}; give a list of denoising steps from 0 up, or null for all of them")
        return None
    return tuple(sorted(set(value)))


def by_steps(planned: Mapping[str, Planned]) -> dict[tuple[int, ...] | None, dict[str, Planned]]:
    """The autoencoders in groups that learn rows of the same denoising steps: one stream serves each group."""
    groups: dict[tuple[int, ...] | None, dict[str, Planned]] = {}
    for name, one in planned.items():
        groups.setdefault(one.steps, {})[name] = one
    return groups


# Autoencoders that were trained elsewhere, as params.yaml names them among those that are trained here.


class ImportedEntry(SiteStatement):
    """A folder of `steerwright sae import`, what it must contain, and what its checkpoint did not say of its rows.

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
            problems += problems_at(error, where, name)
    if problems:
        raise UserErrors("params.yaml: these autoencoders cannot be taken:", problems)
    return train, imported


def load_imported(entry: ImportedEntry, name: str, model: Fingerprint | None = None) -> Sae:
    """The autoencoder of an entry, with all that is stated of its site; `model` is that of the rows that it will meet.

    Raises UserError for other files than the digest says, and where it says otherwise itself.
    """
    folder = Path(entry.folder)
    sae = load_sae(folder)
    # What is loaded: a page beside it is no other autoencoder. Entries of steerwright 0.1 have the digest of all files.
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
