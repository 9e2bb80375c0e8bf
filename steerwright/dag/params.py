"""params.yaml as stages read it: every key that a signature asks for must be there, and nothing else beside them."""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from steerwright.dag.declarations import Stage
from steerwright.dag.dvc import cache_objects
from steerwright.dag.project import write_atomically
from steerwright.errors import UserError, UserErrors

FILE = "params.yaml"


def load_params(root: Path, file: str = FILE) -> dict[str, Any]:
    """The parsed file; an absent one is empty.

    Raises:
        UserError: not YAML, or not a mapping at the top.
    """
    from ruamel.yaml import YAML, YAMLError

    path = root / file
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        cache_objects.refuse(text, file, "settle them, or take one side (`git checkout --ours` or `--theirs`)")
        values = YAML(typ="safe").load(text)
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{file} holds a {type(values).__name__} at the top; it must be a mapping of sections")
    return values


def look_up(params: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key.

    Raises:
        KeyError: it is not there.
    """
    value: Any = params
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise KeyError(key)
        value = value[part]
    return value


def arguments(stage: Stage, params: Mapping[str, Any], file: str = FILE) -> dict[str, Any]:
    """The stage's parameters by argument, checked against the types of its signature.

    Raises:
        UserErrors: keys that are missing or of the wrong type, all of them.
    """
    from pydantic import TypeAdapter, ValidationError

    problems: list[str] = []
    found: dict[str, Any] = {}
    for argument, key in stage.params.items():
        try:
            value = look_up(params, key)
        except KeyError:
            problems.append(_missing(key, params, stage.name))
            continue
        try:
            found[argument] = TypeAdapter(stage.types[argument]).validate_python(value)
        except ValidationError as error:
            for one in error.errors():
                inner = ".".join(str(part) for part in (key, *one["loc"]))
                problems.append(f"{inner} is {one['input']!r}: {one['msg']} (stage {stage.name})")
    if problems:
        raise UserErrors(f"{file} does not fit stage {stage.name}:", problems)
    return found


def check(stages: Iterable[Stage], params: Mapping[str, Any], also_read: Iterable[str] = (), file: str = FILE) -> None:
    """Refuse a file with a key that is missing, or that no signature asks for; ``also_read``: keys others read.

    Only the sections of stages are searched for keys that nobody asks for; the rest of the file is free.

    Raises:
        UserErrors: all problems at once, with near matches.
    """
    stages = list(stages)
    problems: list[str] = []
    asked: dict[str, str] = dict.fromkeys(also_read, "")
    for stage in stages:
        for key in stage.params.values():
            asked.setdefault(key, stage.name)
    for key, name in asked.items():
        if name:
            try:
                look_up(params, key)
            except KeyError:
                problems.append(_missing(key, params, name))
    sections = {stage.section for stage in stages} | {key.rpartition(".")[0] for key in also_read if "." in key}
    tops = {section.partition(".")[0] for section in sections if section}
    for top in sorted(tops):
        if isinstance(params.get(top), Mapping):
            problems += _extras(params[top], top, asked, sections)
    if problems:
        raise UserErrors(f"{file} does not fit the stages:", problems)


def _extras(value: Mapping[str, Any], prefix: str, asked: Mapping[str, str], sections: set[str]) -> list[str]:
    problems: list[str] = []
    siblings = {
        known.removeprefix(f"{prefix}.").partition(".")[0]
        for known in (*asked, *sections)
        if known.startswith(f"{prefix}.")
    }
    for key, below in value.items():
        path = f"{prefix}.{key}"
        if path in asked:
            continue
        if any(known.startswith(f"{path}.") for known in (*asked, *sections)) or path in sections:
            if isinstance(below, Mapping):
                problems += _extras(below, path, asked, sections)
            elif below is not None:
                problems.append(f"{path} is {below!r}; it must be a section of keys")
            continue
        near = difflib.get_close_matches(str(key), sorted(siblings), n=2, cutoff=0.6)
        hint = f"did you mean {' or '.join(f'{prefix}.{one}' for one in near)}?" if near else "remove it"
        problems.append(f"{path}: no stage reads this key; {hint}")
    return problems


def _missing(key: str, params: Mapping[str, Any], stage: str) -> str:
    near = near_keys(key, dotted_keys(params))
    hint = f"; did you write {' or '.join(near)} instead?" if near else ""
    return f"{key} is missing; stage {stage} reads it{hint}"


def near_keys(key: str, known: Iterable[str]) -> list[str]:
    """Up to two keys that may be meant by ``key``: alike below the same section, or of the same name in another."""
    section, _, last = key.rpartition(".")
    known = list(known)
    siblings = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == section}
    alike = [siblings[one] for one in difflib.get_close_matches(last, siblings, n=2, cutoff=0.6)]
    return alike or [one for one in known if one.rpartition(".")[2] == last][:2]


def dotted_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every key of a nested mapping, dotted, sections included."""
    keys: list[str] = []
    for key, value in values.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            keys += dotted_keys(value, f"{prefix}{key}.")
    return keys


# Changing params.yaml from the command line: comments stay, the file is replaced whole, unknown keys are refused.
#
# The file on disk is what DVC reads, so that there is no other way to run with other parameters.


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
