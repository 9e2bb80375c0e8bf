"""What a model is, in a hash: so that vectors and activations of one model are never used on another."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from steerwright.errors import UserError

if TYPE_CHECKING:
    from steerwright.models.identify import Sourced

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
    results, but vectors stay. Version 1: over all files of a folder, as steerwright up to 0.1 wrote, or over
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
        mine, theirs = self._as_version_2(), other._as_version_2()
        if not (mine.version == theirs.version == 2):
            return (
                " One fingerprint is of an earlier form (over all files of a folder, or a commit of the hub), so what "
                "differs is not known."
            )
        found = [f"the weights of {name}" for name in _unequal(mine.weights, theirs.weights)]
        for file in _unequal(mine.configs, theirs.configs):
            found += _values(file, mine.configs.get(file, {}), theirs.configs.get(file, {}))
        return f" They differ in {_listed(found)}." if found else ""

    def note_beside(self, other: Fingerprint, what: str) -> None:
        """Warn where `what` was made with another scheduler or tokenizer than `other` has, once for each difference.

        Nothing is said where one of the two fingerprints does not know.
        """
        made, met = self._as_version_2().beside, other._as_version_2().beside
        if not made or not met:
            return
        found: list[str] = []
        for name in _unequal(made, met):
            mine, theirs = made.get(name), met.get(name)
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
        return {self.digest} if _reread is None else _reread.digests(self)

    def _as_version_2(self) -> Fingerprint:
        """The same model's fingerprint of version 2 where its files are here and are what they were; else this one."""
        return self if self.version == 2 or _reread is None else _reread.as_version_2(self)


class Reread(Protocol):
    """What finds a model's other digest by reading its files; `models/identify.py` is that."""

    def digests(self, known: Fingerprint) -> set[str]: ...
    def as_version_2(self, known: Fingerprint) -> Fingerprint: ...


_reread: Reread | None = None


def reread_by(found: Reread) -> None:
    """From now on fingerprints of version 1 and 2 are told to be of one model by reading its files.

    Apart from `Fingerprint`, so that who only reads vectors does not depend on how a model's files are read.
    """
    global _reread
    _reread = found


def library_versions() -> dict[str, str]:
    """The versions of the libraries that run models, as a fingerprint records them."""
    return {library: metadata.version(library) for library in _LIBRARIES}


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
    digest = expected.digest if isinstance(expected, Fingerprint) else expected
    if digest is None or same_digest(found.digest, digest):
        return
    known = next((one for (name, _), one in list(_met.items()) if name == digest), None)
    raise UserError(
        f"Model {spec.name!r} ({spec.source}) has the fingerprint {found.digest[:12]}, but {digest[:12]} was asked "
        "for: what you use it with was made on other weights or configs."
        f"{'' if known is None else known.difference(found)} Make that again, or name the other model."
    )


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
    text = "not written" if value is _ABSENT else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _listed(found: list[str]) -> str:
    more = len(found) - _SHOWN
    shown = found[:_SHOWN] + ([f"{more} more"] if more > 0 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
