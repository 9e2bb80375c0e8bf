"""Identify a model by what of its files the computation reads, without loading it."""

from __future__ import annotations

import functools
import hashlib
from contextlib import suppress
from pathlib import Path

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint, library_versions, reread_by
from steerwright.models.folder_digest import content_digest, stat_signature
from steerwright.models.hub import Sourced, model_folder, resolve_commit, snapshot_folder
from steerwright.models.model_parts import has_weights, model_parts


def fingerprint(spec: Sourced) -> Fingerprint:
    """Identify a model without loading it, by what of its files the computation reads.

    The files of a hub id are those of its commit in the local cache; where they are not there (yet), the commit itself
    identifies it. It comes from the cache, else from the hub; UserError when neither answers.
    """
    libraries = library_versions()
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


class _Files:
    """The other version's digest of a model whose files are here."""

    def digests(self, known: Fingerprint) -> set[str]:
        """Both digests, as far as they are known."""
        found = {known.digest, self.as_version_2(known).digest}
        if known.version == 2 and known.revision is not None:
            found.add(_commit_digest(known.source, known.revision))
        elif known.version == 2 and (folder := _folder(known.source)) is not None:
            with suppress(UserError, OSError):
                if model_parts(folder).digest == known.digest:
                    found.add(_digest_of_files(folder, stat_signature(folder)))
        return found

    def as_version_2(self, known: Fingerprint) -> Fingerprint:
        """The same model's fingerprint of version 2 where its files are what they were; else `known`."""
        if known.version == 2:
            return known
        with suppress(UserError, OSError):
            if known.revision is not None:
                # Another digest than the commit's is none that steerwright made.
                is_commit = known.digest == _commit_digest(known.source, known.revision)
                folder = _snapshot(known.source, known.revision) if is_commit else None
            else:
                folder = _folder(known.source)
                if folder is not None and _digest_of_files(folder, stat_signature(folder)) != known.digest:
                    folder = None
            if folder is not None:
                parts = model_parts(folder)
                held = {"weights": parts.weights, "configs": parts.configs, "beside": parts.beside}
                return known.model_copy(update={"digest": parts.digest, "version": 2, **held})
        return known


reread_by(_Files())


@functools.cache
def _digest_of_files(folder: Path, _: str) -> str:
    """The digest of version 1, which is the same unless the folder's signature changes."""
    return content_digest(folder)


def _folder(source: str) -> Path | None:
    """The folder of a model that `source` names; None for a hub id and for a folder that holds no model."""
    folder = Path(source).expanduser()
    return folder if any((folder / name).is_file() for name in ("model_index.json", "config.json")) else None


def _snapshot(source: str, commit: str) -> Path | None:
    """The cached files of a hub model; None where the weights or some of them are not there."""
    folder = snapshot_folder(source, commit)
    return folder if folder is not None and has_weights(folder) else None


def _commit_digest(source: str, commit: str) -> str:
    return hashlib.sha256(f"{source}@{commit}".encode()).hexdigest()
