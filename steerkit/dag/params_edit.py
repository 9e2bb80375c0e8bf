"""Changing params.yaml from the command line: comments stay, the file is replaced whole, unknown keys are refused.

The file on disk is what DVC reads, so that there is no other way to run with other parameters.
"""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from steerkit.dag.params import FILE, dotted_keys, load_params, near_keys
from steerkit.dag.project import write_atomically
from steerkit.errors import UserError, UserErrors


def merge_file(root: Path, file: Path, free: Iterable[str]) -> list[str]:
    """Write the values of a YAML file into params.yaml; returns "key: old -> new" for what changed.

    ``free`` are the keys that stages read whole: below them new keys may appear (another entry of `models`, the
    options of another strategy).

    Raises:
        UserError: the file is missing or not a mapping; UserErrors: keys that params.yaml does not have.
    """
    if not file.is_file():
        raise UserError(f"--params {file}: there is no such file")
    return merge(root, load_params(file.parent, file.name), free, str(file))


def merge(root: Path, values: Mapping[str, Any], free: Iterable[str], source: str) -> list[str]:
    """Write ``values``, nested like params.yaml, into it; returns "key: old -> new" for what changed."""
    from ruamel.yaml import YAML, YAMLError

    path = root / FILE
    if not path.exists():
        raise UserError(f"{path} is missing; restore it from git")
    load_params(root)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        document = yaml.load(path.read_text(encoding="utf-8")) or {}
    except YAMLError as error:
        raise UserError(f"{FILE} cannot be read: {error}") from error
    problems: list[str] = []
    changed: list[str] = []
    _merge(document, values, "", set(free), dotted_keys(document), problems, changed)
    if problems:
        raise UserErrors(f"{source} has keys that {FILE} has not:", problems)
    if changed:
        stream = io.StringIO()
        yaml.dump(document, stream)
        write_atomically(root, path, stream.getvalue())
    return changed


def choose_model(root: Path, name: str, key: str = "model") -> list[str]:
    """Make ``key`` the entry ``name`` of ``models``, or the model in a local folder, which is added to them.

    A folder takes the other settings of the model that ``key`` named before.

    Raises:
        UserError: neither an entry nor a folder; the entries are listed.
    """
    params = load_params(root)
    models = params.get("models") or {}
    if name in models:
        return merge(root, _nested(key, name), (), "--model")
    folder = Path(name)
    if folder.is_dir() and (folder / "model_index.json").is_file():
        default = dict(models.get(_at(params, key)) or {"family": "sd"})
        inside = folder.resolve().is_relative_to(root)
        source = os.path.relpath(folder, root) if inside else str(folder.resolve())
        entry = {**default, "source": source, "revision": None}
        entry.pop("world", None)  # that of the other model
        label = folder.resolve().name
        return merge(root, {**_nested(key, label), "models": {label: entry}}, ("models",), "--model")
    near = difflib.get_close_matches(name, list(models), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(
        f"--model {name}: neither an entry of `models` in {FILE} ({', '.join(models)}) nor a folder with a "
        f"model_index.json{hint}"
    )


def model_key(params: Mapping[str, Any], flow: str) -> str:
    """The key that says which model a pipeline runs: its own, or the one of all that have none."""
    own = params.get(flow)
    return f"{flow}.model" if isinstance(own, Mapping) and isinstance(own.get("model"), str) else "model"


def _nested(key: str, value: str) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _at(params: Mapping[str, Any], key: str) -> Any:
    found: Any = params
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _merge(
    into: Any,
    values: Mapping[str, Any],
    prefix: str,
    free: set[str],
    known: list[str],
    problems: list[str],
    changed: list[str],
) -> None:
    for key, value in values.items():
        path = f"{prefix}{key}"
        within = any(path.startswith(f"{one}.") for one in free)
        if key not in into and not within:
            near = near_keys(path, known)
            problems.append(f"{path}; did you mean {' or '.join(near)}?" if near else path)
            continue
        old = into.get(key)
        # Options of one kind mean nothing to another.
        replaced = isinstance(old, Mapping) and isinstance(value, Mapping) and old.get("kind") != value.get("kind")
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not (replaced and "kind" in value):
            _merge(old, value, f"{path}.", free, known, problems, changed)
        elif old != value or key not in into:
            changed.append(f"{path}: {_shown(old)} -> {_shown(value)}")
            into[key] = value


def _shown(value: Any) -> str:
    text = repr(value if not isinstance(value, Mapping) else dict(value))
    return text if len(text) <= 60 else text[:57] + "..."
