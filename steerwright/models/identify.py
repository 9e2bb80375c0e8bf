"""Identify a model by what of its files the computation reads, without loading it."""

from __future__ import annotations

import functools
import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from steerwright.errors import UserError
from steerwright.models.families import FAMILIES
from steerwright.models.fingerprint import Fingerprint, library_versions, reread_by
from steerwright.models.folder_digest import content_digest, stat_signature
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


# Where a model's files are: a local folder, the Hugging Face cache, or the hub, asked in this order.

EMBEDDED = "seasons-sd"
EMBEDDED_LANGUAGE = "seasons-lm"
# The file by which a saved model is known, and who saved it.
_PIPELINE = ("model_index.json", "diffusers pipeline")
_LANGUAGE = ("config.json", "model of transformers")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PATIENCE = 5.0  # seconds for the hub's one answer; without a network nobody should wait for minutes of retries


class Sourced(Protocol):
    """What says where a model comes from: a ModelSpec or a LanguageSpec."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def revision(self) -> str | None: ...


def model_folder(spec: Sourced) -> Path | None:
    """The local folder that `spec.source` names, or None for a hub id; UserError for a folder that is missing."""
    folder = Path(spec.source).expanduser()
    if folder.is_dir():
        index, kind = _index(spec)
        if not (folder / index).is_file():
            if (folder / "adapter_config.json").is_file():
                raise UserError(
                    f"Model {spec.name!r}: the folder {spec.source} holds an adapter without the model that it "
                    "changes. Merge the two (peft: merge_and_unload, then save_pretrained) and name that folder."
                )
            raise UserError(
                f"Model {spec.name!r}: the folder {spec.source} holds no {index}, so no {kind} was saved "
                f"there with save_pretrained; correct `source`, or use {_instead(spec)}."
            )
        return folder
    if not _HUB_ID.fullmatch(spec.source):
        raise UserError(
            f"Model {spec.name!r}: there is no folder {spec.source}; correct `source`, or use {_instead(spec)}."
        )
    return None


def cached_commit(spec: Sourced) -> str | None:
    """Commit of the hub model in the local cache, or None."""
    return _commit_in_cache(spec.source, _index(spec)[0], spec.revision)


def pinned_commit(source: str) -> str | None:
    """The commit that a hub id of a model of transformers means now: by the cache, else by one question to the hub.

    None where neither answers; loading then says why.
    """
    from huggingface_hub import HfApi

    found = _commit_in_cache(source, _LANGUAGE[0], None)
    if found is None:
        with suppress(Exception):  # as in ask_hub
            found = HfApi().model_info(source, timeout=_PATIENCE).sha
    return found


def _commit_in_cache(source: str, index: str, revision: str | None) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, index, revision=revision)
    # The cache keeps a file at .../snapshots/<commit>/<file>.
    return Path(found).parent.name if isinstance(found, str) else None


def snapshot_folder(source: str, commit: str) -> Path | None:
    """The folder in the local cache with the files of a hub model's commit, or of some of them; None where none are."""
    from huggingface_hub import try_to_load_from_cache

    for index in sorted({_PIPELINE[0], _LANGUAGE[0]}, reverse=True):
        found = try_to_load_from_cache(source, index, revision=commit)
        if isinstance(found, str):
            return Path(found).parent
    return None


def resolve_commit(spec: Sourced) -> str:
    """Commit that the hub id and revision mean: by the cache, else by one question to the hub, else UserError."""
    return cached_commit(spec) or ask_hub(spec)


def config_folder(spec: Sourced) -> Path:
    """A folder with the model's configs, weights or not: its own, or what the cache or the hub has of a hub id.

    Some kilobytes are downloaded where they must be. Raises UserError as `ask_hub`.
    """
    from huggingface_hub import snapshot_download

    folder = model_folder(spec)
    if folder is not None:
        return folder
    commit = resolve_commit(spec)
    wanted = [_index(spec)[0], "*/*config.json"]
    try:
        return Path(snapshot_download(spec.source, revision=commit, allow_patterns=wanted))
    except Exception as error:  # as in ask_hub
        raise unavailable(spec, f"its configs cannot be had ({type(error).__name__})") from error


def ask_hub(spec: Sourced) -> str:
    """Commit by the hub itself, within seconds; UserError that names the embedded model when it gives none."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        commit = HfApi().model_info(spec.source, revision=spec.revision, timeout=_PATIENCE).sha
    except GatedRepoError as error:
        raise unavailable(spec, "its authors ask you to accept their terms on its page and to log in") from error
    except RevisionNotFoundError as error:
        raise unavailable(spec, f"the hub knows no revision {spec.revision!r} of it") from error
    except RepositoryNotFoundError as error:
        raise unavailable(spec, "the hub knows no such model, or it is private") from error
    except OfflineModeIsEnabled as error:
        raise unavailable(spec, "HF_HUB_OFFLINE is set") from error
    # Whatever else goes wrong is the connection; releases of huggingface_hub raise it from different HTTP clients.
    except Exception as error:
        raise unavailable(spec, f"the hub does not answer ({type(error).__name__})") from error
    if commit is None:
        raise unavailable(spec, "the hub names no commit of it")
    return commit


def unavailable(spec: Sourced, reason: str) -> UserError:
    """The one message for a model that cannot be had."""
    return UserError(
        f"Model {spec.name!r}: {spec.source} is neither a folder here nor in the Hugging Face cache, and {reason}. "
        f"Download it first where there is a network, give a local folder as `source`, or use {_instead(spec)}."
    )


def _index(spec: Sourced) -> tuple[str, str]:
    return _LANGUAGE if spec.family == "language" else _PIPELINE


def _embedded(spec: Sourced) -> str:
    return EMBEDDED_LANGUAGE if spec.family == "language" else FAMILIES[spec.family].embedded


def _instead(spec: Sourced) -> str:
    return f"the embedded model, which needs no download: --model {_embedded(spec)}"
