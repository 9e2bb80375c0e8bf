"""dvc.yaml from the declarations: generated, deterministic, committed; stages written by hand beside them are kept."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

from steerwright.dag import environment, registry
from steerwright.dag.code import Known, closure
from steerwright.dag.declarations import Stage
from steerwright.dag.dvc import cache_objects, lockfile
from steerwright.dag.project import queue, state_folder, write_atomically
from steerwright.errors import UserError

HEADER = """\
# Generated from tasks/*/pipeline.py by `steerwright dag --write`: edit the declarations there, not stages here whose
# command is `sh tasks/run.sh ...`. Stages with any other command are yours and are kept as they are.
"""
# The second is what it was until 0.1: it needed an activated environment.
OURS = ("sh tasks/run.sh ", lockfile.EARLIER_COMMAND)
# Also the header of an earlier version.
MADE_HEADER = re.compile(r"\A# Generated from tasks/\S+ by .*\n(#.*\n)*")
# Names the text that was last found, or made, to say what is declared; beside the engine's locks, never in git.
CURRENT = "dvc-yaml-is-current"
_ENVIRONMENT: dict[str, Any] = {
    "cmd": f"{OURS[0]}{environment.STAGE}",
    "desc": "Write down library versions, the device and digests of local weights.",
    "always_changed": True,
    # Kept while the stage runs: others may be reading it.
    "outs": [{environment.FILE: {"cache": False, "persist": True}}],
}


def render(root: Path) -> str:
    """The text that dvc.yaml should have now.

    Raises:
        UserError: dvc.yaml cannot be read, or a stage written by hand has the name of a declared one.
    """
    return _render(root, _entries(root))


def _render(root: Path, entries: dict[str, dict[str, Any]]) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    yaml = YAML()
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    existing = _read(root / "dvc.yaml", yaml)
    stages = CommentedMap()
    for name, entry in entries.items():
        stages[name] = dict(entry)
        if "meta" in entry:
            libraries = CommentedSeq(entry["meta"]["libraries"])
            libraries.fa.set_flow_style()
            stages[name]["meta"] = {"libraries": libraries}
    for name, entry in (existing.get("stages") or {}).items():
        if is_ours(entry):
            continue
        if name in stages:
            raise UserError(f"dvc.yaml: the hand-written stage {name} has the name of a declared one; rename either")
        stages[name] = entry
    document = CommentedMap(stages=stages)
    for key, value in existing.items():
        if key != "stages":
            document[key] = value
    stream = io.StringIO()
    yaml.dump(document, stream)
    return HEADER + stream.getvalue()


def write(root: Path) -> bool:
    """Bring dvc.yaml up to date; returns whether it changed.

    Making the text takes longer than all else that a run with nothing to do does, so it is not made again for the same
    declarations and the same dvc.yaml.
    """
    with queue(root):
        path, note = root / "dvc.yaml", state_folder(root) / CURRENT
        there = path.read_text(encoding="utf-8") if path.exists() else None
        entries = _entries(root)
        if there is not None and note.exists() and note.read_text(encoding="utf-8") == _digest(entries, there):
            return False
        text = _render(root, entries)
        if text != there:
            write_atomically(root, path, text)
        write_atomically(root, note, _digest(entries, text))
        lockfile.carry_over(root, {declared.name: declared.command for declared in registry.all_stages(root).values()})
    return text != there


def difference(root: Path) -> str:
    """A unified diff from dvc.yaml as it is to what it should be; empty when it is up to date."""
    path = root / "dvc.yaml"
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(
        there.splitlines(), render(root).splitlines(), "dvc.yaml", "as declared", lineterm="", n=2
    )
    return "\n".join(lines)


def keys_of_others(root: Path) -> list[str]:
    """Keys of params.yaml that hand-written stages of dvc.yaml read."""
    from ruamel.yaml import YAML

    keys: list[str] = []
    for entry in (_read(root / "dvc.yaml", YAML(typ="safe")).get("stages") or {}).values():
        if not is_ours(entry):
            said = entry.get("params") or entry.get("do", {}).get("params") or []
            keys += [key for key in said if isinstance(key, str)]
    return keys


def is_ours(entry: Any) -> bool:
    """Whether this entry of dvc.yaml was generated: its command is `sh tasks/run.sh NAME`."""
    command = entry.get("cmd") if hasattr(entry, "get") else None
    return isinstance(command, str) and command.startswith(OURS)


def expected_entry(stage: Stage, root: Path) -> dict[str, Any]:
    """What dvc.yaml should say of one stage."""
    return _entry(stage, root)


def _entries(root: Path) -> dict[str, dict[str, Any]]:
    known: Known = {}
    found = {declared.name: _entry(declared, root, known) for declared in registry.all_stages(root).values()}
    return {environment.STAGE: _ENVIRONMENT, **found}


def _digest(entries: dict[str, dict[str, Any]], text: str) -> str:
    """All that the text is made from: the declarations, what it was, and the code that makes it."""
    total = hashlib.sha256(Path(__file__).read_bytes())
    total.update(json.dumps(entries).encode())
    total.update(text.encode())
    return total.hexdigest()


def _entry(stage: Stage, root: Path, known: Known | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"cmd": stage.command}
    if stage.desc:
        entry["desc"] = stage.desc
    if stage.frozen:
        entry["frozen"] = True
    code = closure(stage.function.__module__, root, known)
    deps = sorted({*stage.dep_paths(), *code.files})
    if deps:
        entry["deps"] = deps
    params: list[Any] = sorted(set(stage.params.values()))
    # What is frozen is not run, wherever it was made.
    if not stage.frozen:
        params.append({environment.FILE: [stage.name]})
        if libraries := [name for name in code.libraries if environment.counts(name)]:
            entry["meta"] = {"libraries": libraries}
    if params:
        entry["params"] = params
    sections = {"data": "outs", "metrics": "metrics", "plots": "plots"}
    for output in stage.outs.values():
        options: dict[str, Any] = {} if output.marker.cache else {"cache": False}
        for option in ("x", "y", "template", "title"):
            value = getattr(output.marker, option)
            if value is not None:
                options[option] = value
        entry.setdefault(sections[output.marker.kind], []).append({output.path: options} if options else output.path)
    order = ("cmd", "desc", "frozen", "deps", "params", "outs", "metrics", "plots", "meta")
    return {key: entry[key] for key in order if key in entry}


def _read(path: Path, yaml: Any) -> Any:
    from ruamel.yaml import YAMLError

    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    cache_objects.refuse(
        text,
        "dvc.yaml",
        "settle them for the stages that you wrote by hand, of the others take either side; `steerwright dag --write` "
        "then makes them as declared",
    )
    try:
        document = yaml.load(MADE_HEADER.sub("", text)) or {}
    except YAMLError as error:
        raise UserError(f"dvc.yaml cannot be read: {error}") from error
    if not hasattr(document, "items") or not hasattr(document.get("stages") or {}, "items"):
        raise UserError("dvc.yaml is not a mapping with `stages`; restore it from git, or remove it")
    return document
