"""What a result depends on beyond the project's files: library versions, the device, and weights that lie elsewhere.

The stage `environment` writes artifacts/environment.json, an entry for each stage, which that stage reads as parameters
of its own: dvc.lock records them, and `dvc repro` compares them like any other. Of an entry:

- `libraries`: name and version of every library that the stage's code imports (found by its imports, as dvc.yaml's
  `meta` says), without those that neither compute nor write results.
- `device`: cpu, cuda or mps, for stages that compute with torch. The precision that is used follows from it and from
  the model's `dtype`.
- `threads`: how many threads a computation may take, on a CPU: sums in another order round differently.
- `sources`: a digest of every file and folder that the stage's parameters name, and the commit of every hub id that is
  in the Hugging Face cache.

The stage always runs, in milliseconds where nothing moved: a folder is read again only when sizes or times changed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from steerwright.dag.declarations import RESERVED
from steerwright.dag.params import load_params, look_up
from steerwright.dag.project import state_folder, write_atomically
from steerwright.errors import UserError
from steerwright.former_name import setting
from steerwright.models.folder_digest import content_digest, stat_signature

STAGE = RESERVED
FILE = "artifacts/environment.json"

# Distributions whose name is not that of what is imported.
_DISTRIBUTIONS = {"PIL": "pillow", "open_clip": "open-clip-torch", "sklearn": "scikit-learn", "yaml": "pyyaml"}
# They neither compute nor write what a stage makes. Triton is pinned by torch to a version of its own.
_WITHOUT_RESULTS = frozenset((
    "dvc", "gradio", "huggingface_hub", "jaxtyping", "prefect", "psutil", "pydantic", "rich", "ruamel", "triton",
    "typer",
))  # fmt: skip
# Libraries that another one computes with, although no code here imports them.
_BELOW = {"transformers": ("tokenizers", "peft"), "open_clip": ("timm", "torchvision"), "lpips": ("torchvision",)}
_ON_A_DEVICE = frozenset({"torch"})
_THREADED = frozenset({"torch", "numpy", "scipy", "sklearn"})
_THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MODELS = "models"
_DIGESTS = "digests.json"


def refresh(root: Path) -> bool:
    """Bring artifacts/environment.json up to date; returns whether it changed."""
    return _write(root, entries(root))


def missing_entries(root: Path) -> list[str]:
    """Stages that read artifacts/environment.json and are not in it."""
    return [name for name in _declared(root) if name not in read(root)]


def write_missing(root: Path) -> bool:
    """Give these stages an empty entry, so that `dvc repro --single-item` can begin; returns whether there were any."""
    missing = missing_entries(root)
    return bool(missing) and _write(root, {**read(root), **{name: {} for name in missing}})


def fill_in(root: Path, stage: str) -> bool:
    """After a stage ran: record the commits of hub models that it was the first to download; whether there are any."""
    before = read(root)
    added = {
        name: found
        for name, found in _sources(root, [stage]).get(stage, {}).items()
        if name not in before.get(stage, {}).get("sources", {})
    }
    if added:
        entry = before.setdefault(stage, {})
        entry["sources"] = dict(sorted({**entry.get("sources", {}), **added}.items()))
        _write(root, before)
    return bool(added)


def read(root: Path) -> dict[str, dict[str, Any]]:
    """The file as it is; empty where there is none or it is torn."""
    try:
        found = json.loads((root / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def entries(root: Path) -> dict[str, dict[str, Any]]:
    """What artifacts/environment.json should hold now."""
    stages = _declared(root)
    sources = _sources(root, stages)
    device, threads = device_class(), thread_count()
    # Asking for a version reads a file; the stages share their libraries.
    known = {name: _version(name) for name in _counted(one for libraries, _ in stages.values() for one in libraries)}
    found: dict[str, dict[str, Any]] = {}
    for name, (libraries, _) in stages.items():
        entry: dict[str, Any] = {}
        if counted := _counted(libraries):
            entry["libraries"] = dict(sorted(known[one] for one in counted))
        if _ON_A_DEVICE & set(libraries):
            entry["device"] = device
        if _THREADED & set(libraries) and device == "cpu":
            entry["threads"] = threads
        if sources.get(name):
            entry["sources"] = sources[name]
        found[name] = entry
    return found


def versions(imported: Iterable[str]) -> dict[str, str | None]:
    """Version of each library that can change results, by the name of its distribution; None where it is missing.

    ``imported``: names as they are imported. Labels of builds (`+cpu`) do not count: the device does.
    """
    return dict(sorted(_version(name) for name in _counted(imported)))


def counts(library: str) -> bool:
    """Whether another version of the library can change what a stage makes."""
    return library not in _WITHOUT_RESULTS


def _counted(imported: Iterable[str]) -> set[str]:
    return {name for one in imported if counts(one) for name in (one, *_BELOW.get(one, ()))}


def _version(name: str) -> tuple[str, str | None]:
    distribution = _DISTRIBUTIONS.get(name, name)
    try:
        return distribution, metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        pass
    for other in metadata.packages_distributions().get(name, ()) if util.find_spec(name) else ():
        return other, metadata.version(other).partition("+")[0]
    return distribution, None


def device_class() -> str:
    """cpu, cuda or mps: where torch would compute, found without importing it."""
    wanted = setting("DEVICE")
    if wanted:
        return wanted.partition(":")[0]
    return "cuda" if _torch_has_cuda() and _cuda_devices() else "cpu"


def _torch_has_cuda() -> bool:
    spec = util.find_spec("torch")
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        try:
            said = Path(folder, "version.py").read_text(encoding="utf-8")
        except OSError:
            continue
        return re.search(r"^cuda\b[^=]*=\s*['\"]", said, re.MULTILINE) is not None
    return False


def _cuda_devices() -> int:
    import ctypes

    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
    except (OSError, AttributeError):
        return 0


def thread_count() -> int:
    """How many threads a computation on the CPU may take: OMP_NUM_THREADS, else the cores that this process has."""
    for name in _THREAD_LIMITS:
        said = os.environ.get(name, "").partition(",")[0]
        if said.isdecimal() and int(said) > 0:
            return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def outside(root: Path, stages: Iterable[str]) -> dict[str, Any]:
    """What these stages stand on outside the project's files, cheap to ask again: see `unmoved`."""
    known = _declared(root)
    chosen = [known[name] for name in stages if name in known]
    libraries = {library for libraries, _ in chosen for library in libraries}
    params = load_params(root)
    texts = {text for _, keys in chosen for text in strings_under(params, keys).values()}
    places = {text: _moved(root, text) for text in texts if _may_be_place(root, text)}
    return {"imports": sorted(libraries), "versions": versions(libraries), "machine": _machine(), "places": places}


def unmoved(root: Path, before: Mapping[str, Any]) -> bool:
    """Whether all that `outside` found is as it was; some milliseconds, with the standard library alone."""
    return bool(
        before["versions"] == versions(before["imports"])
        and before["machine"] == _machine()
        and all(_moved(root, text) == said for text, said in before["places"].items())
    )


def in_words(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two entries: `torch 2.13.0 -> 2.14.1`."""
    said: list[str] = []
    old, new = before.get("libraries", {}), now.get("libraries", {})
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            said.append(f"{name} {old.get(name) or 'absent'} -> {new.get(name) or 'absent'}")
    for key in ("device", "threads"):
        if before.get(key) != now.get(key):
            said.append(f"{key} {before.get(key, 'none')} -> {now.get(key, 'none')}")
    old, new = before.get("sources", {}), now.get("sources", {})
    said += [f"what {name} names has changed" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return ", ".join(said)


def _machine() -> list[str | int | bool | None]:
    """What the device and the number of threads follow from, without asking a driver."""
    names = ("STEERWRIGHT_DEVICE", "CUDA_VISIBLE_DEVICES")
    return [*(os.environ.get(name) for name in names), os.path.exists("/dev/nvidiactl"), thread_count()]


def _declared(root: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Of every stage that reads the environment, by dvc.yaml: import names of its libraries, keys of params.yaml."""
    path = root / "dvc.yaml"
    try:
        moved = path.stat()
    except FileNotFoundError:
        return {}
    return _declared_in(path, moved.st_ino, moved.st_mtime_ns, moved.st_size)


@lru_cache(maxsize=4)
def _declared_in(path: Path, _inode: int, _mtime: int, _size: int) -> dict[str, tuple[list[str], list[str]]]:
    from ruamel.yaml import YAML

    found: dict[str, tuple[list[str], list[str]]] = {}
    for name, entry in (YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}).get("stages", {}).items():
        params = entry.get("params") or []
        if any(isinstance(one, dict) and FILE in one for one in params):
            libraries = (entry.get("meta") or {}).get("libraries", [])
            found[name] = (libraries, [one for one in params if isinstance(one, str)])
    return found


def _sources(root: Path, stages: Iterable[str]) -> dict[str, dict[str, str]]:
    known, params = _declared(root), load_params(root)
    digests = _Digests(root)
    found: dict[str, dict[str, str]] = {}
    for name in stages:
        said = {
            key: value
            for key, text in strings_under(params, known.get(name, ([], []))[1]).items()
            if (value := _identity(root, text, digests)) is not None
        }
        found[name] = dict(sorted(said.items()))
    digests.keep()
    return found


def _identity(root: Path, text: str, digests: _Digests) -> str | None:
    place = _place(root, text)
    if place is not None:
        return digests.of(place)
    commit = _cached_commit(text)
    return None if commit is None else f"commit {commit}"


def strings_under(params: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """All texts in the values of these keys, by dotted key; of `models` only the entries that another value names."""
    found: dict[str, str] = {}
    models: Mapping[str, Any] = {}
    for key in keys:
        try:
            value = look_up(params, key)
        except KeyError:
            continue
        if key == _MODELS and isinstance(value, Mapping):
            models = value
        else:
            found.update(_leaves(value, key))
    pending = [text for text in found.values() if text in models]
    while pending:
        name = pending.pop()
        inner = dict(_leaves(models.get(name), f"{_MODELS}.{name}"))
        # What an entry falls back to is loaded where memory does not suffice.
        pending += [text for key, text in inner.items() if key not in found and text in models]
        found.update(inner)
    return found


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}.{index}")


def _place(root: Path, text: str) -> Path | None:
    """The file or folder that a parameter names; None if it names none."""
    if not text.strip(".") or len(text) > 1024 or "\0" in text or "\n" in text:
        return None
    try:
        place = root / Path(text).expanduser()
        return place if place.exists() else None
    except (OSError, RuntimeError):
        return None


def _may_be_place(root: Path, text: str) -> bool:
    return "/" in text or _place(root, text) is not None


def _moved(root: Path, text: str) -> str | None:
    place = _place(root, text)
    if place is None:
        return _cached_commit(text)
    try:
        return stat_signature(place)
    except UserError:
        return "broken"


def _cached_commit(text: str) -> str | None:
    """The commit that a hub id means in the Hugging Face cache; None if it is not there, or is no hub id."""
    if not _HUB_ID.fullmatch(text):
        return None
    reference = _hub_cache() / f"models--{text.replace('/', '--')}" / "refs" / "main"
    try:
        return reference.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _hub_cache() -> Path:
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if said := os.environ.get(name):
            return Path(said).expanduser() / below
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "huggingface" / "hub"


class _Digests:
    """Digests of files and folders, remembered by their stat signatures in the state folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = state_folder(root) / _DIGESTS
        try:
            self.known: dict[str, list[str]] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}
        self.changed = False

    def of(self, place: Path) -> str:
        name, signature = str(place), stat_signature(place)
        if self.known.get(name, [""])[0] != signature:
            # Asked before and after: a file that is being written has no digest yet.
            while True:
                digest = content_digest(place)
                after = stat_signature(place)
                if after == signature:
                    break
                signature = after
            self.known[name] = [signature, digest]
            self.changed = True
        return self.known[name][1]

    def keep(self) -> None:
        if self.changed:
            write_atomically(self.root, self.path, json.dumps(self.known))


def _text(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def _write(root: Path, found: Mapping[str, Any]) -> bool:
    path, text = root / FILE, _text(found)
    try:
        if path.read_text(encoding="utf-8") == text:
            return False
    except (OSError, UnicodeDecodeError):
        path.parent.mkdir(exist_ok=True)
    write_atomically(root, path, text)
    return True
