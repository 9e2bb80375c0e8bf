"""What a model is, in a hash: so that vectors and activations of one model are never used on another."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from steerkit.errors import UserError
from steerkit.models.folder_digest import content_digest, stat_signature
from steerkit.models.hub import Sourced, model_folder, resolve_commit, snapshot_folder
from steerkit.models.model_parts import has_weights, model_parts

log = logging.getLogger(__name__)

_LIBRARIES = ("torch", "diffusers", "transformers")
_SHOWN = 3  # differences that a message names
# What this process has met, by digest and source.
_met: dict[tuple[str, str], Fingerprint] = {}
_said: set[str] = set()


class Fingerprint(BaseModel):
    """Identity of a model: `digest` decides whether two are the same.

    Version 2: the digest is over `weights` (digest of the tensors by component) and `configs` (by file, the values that
    the computation reads). Scheduler, tokenizer, chat template and the ends of texts are `beside` it: they change
    results, but vectors stay what they are. Version 1: over all files of a folder, as steerkit up to 0.1 wrote, or over
    id and commit of a hub model that is not on this machine; the three are empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    revision: str | None
    digest: str
    libraries: dict[str, str]
    version: Literal[1, 2] = 1
    weights: dict[str, str] = {}
    configs: dict[str, dict[str, Any]] = {}
    beside: dict[str, str | dict[str, Any]] = {}

    def model_post_init(self, _: Any, /) -> None:
        _met[self.digest, self.source] = self

    @property
    def computation(self) -> list[Any]:
        """Everything of the model that its activations depend on, for keys of what is computed with it."""
        return [self.digest, self.beside]

    def same_model(self, other: Fingerprint) -> bool:
        """Whether both are the same weights and configs, whatever they are called and whatever libraries ran them.

        A fingerprint of version 1 is compared by what the other's folder or commit was called in version 1, which may
        read the folder.
        """
        if self.digest == other.digest:
            return True
        if self.version == other.version == 2:
            return False
        return other.digest in self.digests() or self.digest in other.digests()

    def difference(self, other: Fingerprint) -> str:
        """A sentence, after a space, on what differs: components by their weights, configs by their keys and values."""
        if not (self.version == other.version == 2):
            return (
                " One fingerprint is of an earlier form (over all files of a folder, or a commit of the hub), so what "
                "differs is not known."
            )
        found = [f"the weights of {name}" for name in _unequal(self.weights, other.weights)]
        for file in _unequal(self.configs, other.configs):
            found += _values(file, self.configs.get(file, {}), other.configs.get(file, {}))
        return f" They differ in {_listed(found)}." if found else ""

    def note_beside(self, other: Fingerprint, what: str) -> None:
        """Warn where `what` was made with another scheduler or tokenizer than `other` has, once for each difference.

        Nothing is said where one of the two fingerprints does not know.
        """
        if not self.beside or not other.beside:
            return
        found = []
        for name in _unequal(self.beside, other.beside):
            mine, theirs = self.beside.get(name), other.beside.get(name)
            if isinstance(mine, dict) and isinstance(theirs, dict):
                found += _values(f"the {name}", mine, theirs)
            else:
                found.append(f"the {name}")
        if found:
            changed = (
                f"fitted on the weights and configs of {other.name} ({other.source}), but with other settings: "
                f"{_listed(found)}. Used all the same; measure again what they do."
            )
            if changed not in _said:
                _said.add(changed)
                log.warning("%s: %s", what, changed)

    def digests(self) -> set[str]:
        """The digests of both versions by which the model of this fingerprint is known on this machine."""
        if self.revision is not None:
            commit = _commit_digest(self.source, self.revision)
            if self.digest != commit:
                return {self.digest, commit}
            folder = _snapshot(self.source, self.revision)
            return {commit} if folder is None else {commit, model_parts(folder).digest}
        folder = Path(self.source).expanduser()
        if not any((folder / name).is_file() for name in ("model_index.json", "config.json")):
            return {self.digest}
        try:
            found = {_digest_of_files(folder, stat_signature(folder)), model_parts(folder).digest}
        except (UserError, OSError):
            return {self.digest}
        return found if self.digest in found else {self.digest}


def same_digest(one: str, other: str) -> bool:
    """Whether two digests, of either version, name one model: for files that keep nothing but a digest.

    Of which model a digest is, is known of the fingerprints that this process has read or made.
    """
    if one == other:
        return True
    met = [found for (digest, _), found in list(_met.items()) if digest in (one, other)]
    return any({one, other} <= found.digests() for found in met)


def check_expected(spec: Sourced, found: Fingerprint, expected: Fingerprint | str | None) -> None:
    """Raise UserError where a model is not the `expected` one, a fingerprint or a digest; None expects nothing."""
    if expected is None:
        return
    if isinstance(expected, str):
        digest, same, difference = expected, same_digest(found.digest, expected), ""
    else:
        digest, same, difference = expected.digest, expected.same_model(found), expected.difference(found)
    if not same:
        raise UserError(
            f"Model {spec.name!r} ({spec.source}) has the fingerprint {found.digest[:12]}, but {digest[:12]} was asked "
            f"for: what you use it with was made on other weights or configs.{difference} Make that again, or name "
            "the other model."
        )


def fingerprint(spec: Sourced) -> Fingerprint:
    """Identify a model without loading it, by what of its files the computation reads.

    The files of a hub id are those of its commit in the local cache; where they are not there (yet), the commit itself
    identifies it. It comes from the cache, else from the hub; UserError when neither answers.
    """
    libraries = {library: metadata.version(library) for library in _LIBRARIES}
    folder, revision = model_folder(spec), None
    if folder is None:
        revision = resolve_commit(spec)
        folder = _snapshot(spec.source, revision)
        if folder is None:
            digest = _commit_digest(spec.source, revision)
            return Fingerprint(
                name=spec.name, source=spec.source, revision=revision, digest=digest, libraries=libraries
            )
    parts = model_parts(folder)
    return Fingerprint(
        name=spec.name,
        source=spec.source,
        revision=revision,
        digest=parts.digest,
        libraries=libraries,
        version=2,
        weights=parts.weights,
        configs=parts.configs,
        beside=parts.beside,
    )


@functools.cache
def _digest_of_files(folder: Path, _: str) -> str:
    """The digest of version 1, which is the same unless the folder's signature changes."""
    return content_digest(folder)


def _snapshot(source: str, commit: str) -> Path | None:
    """The cached files of a hub model; None where the weights or some of them are not there."""
    folder = snapshot_folder(source, commit)
    return folder if folder is not None and has_weights(folder) else None


def _commit_digest(source: str, commit: str) -> str:
    return hashlib.sha256(f"{source}@{commit}".encode()).hexdigest()


def _unequal(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]


def _values(where: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The keys of a config that differ, with both values."""
    one, other = _flat(mine), _flat(theirs)
    return [
        f"{where} ({key}: {_short(one.get(key, _ABSENT))} and {_short(other.get(key, _ABSENT))})"
        for key in sorted({*one, *other})
        if one.get(key, _ABSENT) != other.get(key, _ABSENT)
    ]


_ABSENT = object()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _short(value: Any) -> str:
    text = "not written" if value is _ABSENT else str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _listed(found: list[str]) -> str:
    more = len(found) - _SHOWN
    shown = found[:_SHOWN] + ([f"{more} more"] if more > 0 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
