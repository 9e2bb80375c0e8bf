"""One short key for everything a stage is about to read: a run with the same key may go on where a killed one stopped.

It is the same by either door. It is not what decides whether a stage is up to date: dvc.lock does that.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from steerkit.dag import environment
from steerkit.dag.code_closure import code_closure, digest_of_files
from steerkit.dag.declarations import Stage

# A larger file is told apart by size and time of change: reading a store of many gigabytes again would cost minutes.
READ_UP_TO = 1 << 20


def code_digest_of(stage: Stage, root: Path) -> str:
    """sha256 over the stage's code and its environment (library versions, device, threads, sources), in hexadecimal."""
    code = digest_of_files(code_closure(stage.function.__module__, root), root)
    around = json.dumps(environment.read(root).get(stage.name, {}), sort_keys=True)
    return hashlib.sha256(f"{code}\0{around}".encode()).hexdigest()


def input_key(stage: Stage, params: dict[str, Any], root: Path) -> str:
    """16 hexadecimal digits of the stage's name, code, parameters and files; ``params`` is the whole params.yaml."""
    from steerkit.dag.params import look_up

    total = hashlib.sha256(f"{stage.name}\0{code_digest_of(stage, root)}\0".encode())
    values = {key: look_up(params, key) for key in sorted(set(stage.params.values()))}
    total.update(json.dumps(values, sort_keys=True, default=str).encode())
    for path in stage.dep_paths():
        total.update(f"\0{path}\0".encode())
        _add(total, root / path)
    return total.hexdigest()[:16]


def _add(total: Any, path: Path, above: tuple[tuple[int, int], ...] = ()) -> None:
    if path.is_dir():
        here = path.stat()
        # A link back to a folder that holds it adds nothing, and would be followed for ever.
        if (identity := (here.st_dev, here.st_ino)) in above:
            return
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                total.update(f"/{entry.name}\0".encode())
                _add(total, Path(entry.path), (*above, identity))
        return
    try:
        stat = path.stat()
    except FileNotFoundError:
        total.update(b"absent")
        return
    if stat.st_size <= READ_UP_TO:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    else:
        total.update(f"{stat.st_size}:{stat.st_mtime_ns}".encode())
