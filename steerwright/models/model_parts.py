"""What of a model's folder its computation reads: weights and configs; and what it is used with: scheduler, tokenizer.

Only the standard library, so that a model is known before torch is imported.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from steerwright.errors import UserError
from steerwright.models.folder_digest import content_digest

Values = dict[str, Any]

# Keys that say who saved a file, when and how, or how training went. Precision is the spec's, and the weights' own.
_SAYS_NOTHING = {
    "architectures", "dtype", "finetuning_task", "gradient_checkpointing", "id2label", "initializer_factor",
    "initializer_range", "label2id", "output_attentions", "output_hidden_states", "problem_type", "return_dict",
    "task_specific_params", "torch_dtype", "transformers_version", "use_cache",
}  # fmt: skip
# Models run without dropout.
_TRAINING = ("dropout", "_pdrop", "dropout_rate", "dropout_prob")
_TOKENIZER_SAYS_NOTHING = {
    "name_or_path", "tokenizer_file", "special_tokens_map_file", "transformers_version", "chat_template",
}  # fmt: skip
# Where a language model's texts end. Its activations do not depend on them.
_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# What pictures are judged by; models are loaded without.
_NOT_LOADED = ("safety_checker", "feature_extractor", "requires_safety_checker")
_WEIGHTS = {
    # In the order in which each library looks for them.
    "diffusers": ("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
    "transformers": ("model.safetensors", "model.safetensors.index.json"),
}
# With a tokenizer.json the older files beside it are not read.
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_OLDER_TOKENIZER = (
    "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelParts:
    """`weights`: digest of the tensors by component ("unet"; "model" of a language model).

    `configs`: by file, the values that the computation reads. `beside`: scheduler and ends of texts by value,
    tokenizers and chat template by digest; they are no part of the model's identity.
    """

    weights: dict[str, str]
    configs: dict[str, Values]
    beside: dict[str, str | Values]

    @property
    def digest(self) -> str:
        """SHA-256 over weights and configs."""
        return hashlib.sha256(_canonical([self.weights, self.configs]).encode()).hexdigest()


def model_parts(folder: Path) -> ModelParts:
    """Read a folder that `save_pretrained` wrote, of a pipeline or a language model.

    Reads each weights file once per process (`remember`). Raises UserError for a config that is no JSON object.
    """
    if (folder / "model_index.json").is_file():
        return _pipeline(folder)
    config = _object(folder / "config.json")
    generation = folder / "generation_config.json"
    ends = _object(generation) if generation.is_file() else config
    beside: dict[str, str | Values] = {"ends": {key: ends.get(key) for key in _ENDS}}
    if (tokenizer := _tokenizer(folder)) is not None:
        beside["tokenizer"] = tokenizer
    if (template := _chat_template(folder)) is not None:
        beside["chat template"] = template
    counts = {key: value for key, value in config.items() if key not in _ENDS}
    return ModelParts({"model": _weights(folder, "transformers")}, {"config.json": _read_by_model(counts)}, beside)


def has_weights(folder: Path) -> bool:
    """Whether all weights that the folder's model is loaded from are there."""
    if (folder / "model_index.json").is_file():
        return all(_weight_files(folder / name, library) for name, library, _ in _networks(folder))
    return bool(_weight_files(folder, "transformers"))


def _pipeline(folder: Path) -> ModelParts:
    index = _object(folder / "model_index.json")
    weights: dict[str, str] = {}
    configs: dict[str, Values] = {}
    beside: dict[str, str | Values] = {}
    networks = list(_networks(folder))
    for name, library, _ in networks:
        weights[name] = _weights(folder / name, library)
        configs[f"{name}/config.json"] = _read_by_model(_object(folder / name / "config.json"))
    for name, value in index.items():
        if name.startswith("tokenizer") and (digest := _tokenizer(folder / name)) is not None:
            beside[name] = digest
        elif name == "scheduler" and (folder / name / "scheduler_config.json").is_file():
            found = _read_by_model(_object(folder / name / "scheduler_config.json"))
            # The class is the index's word; a config that was written by another class is read all the same.
            beside[name] = found | ({"_class_name": value[1]} if isinstance(value, list) else {})
    settings = {name: value for name, value in index.items() if not isinstance(value, list) and name not in _NOT_LOADED}
    configs["model_index.json"] = _read_by_model(settings) | {name: kind for name, _, kind in networks}
    return ModelParts(weights, configs, beside)


def _networks(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Name, library and class of every component with weights that is loaded."""
    for name, value in sorted(_object(folder / "model_index.json").items()):
        if not (isinstance(value, list) and len(value) == 2 and value[0] and value[1]) or name in _NOT_LOADED:
            continue
        if name != "scheduler" and not name.startswith("tokenizer"):
            yield name, str(value[0]), str(value[1])


def _weight_files(folder: Path, library: str) -> list[Path]:
    """The files that the library loads the weights from; none where one of them is missing."""
    for name in _WEIGHTS.get(library, _WEIGHTS["transformers"]):
        path = folder / name
        if not path.is_file():
            continue
        if not name.endswith(".json"):
            return [path]
        named = _object(path).get("weight_map")
        files = [folder / file for file in sorted(set(named.values()))] if isinstance(named, dict) else []
        return files if all(file.is_file() for file in files) else []
    return []


def _weights(folder: Path, library: str) -> str:
    files = _weight_files(folder, library)
    if files:
        return tensors_digest(files)
    # Weights in another form, or only some of them: loading says what is wrong.
    return content_digest(folder) if folder.is_dir() else "missing"


def _tokenizer(folder: Path) -> str | None:
    names = [name for name in _TOKENIZER if (folder / name).is_file()]
    if "tokenizer.json" not in names:
        names += [name for name in _OLDER_TOKENIZER if (folder / name).is_file()]
    if not names:
        return None
    found = {name: remember("tokenizer", folder / name, _tokenizer_file) for name in names}
    return hashlib.sha256(_canonical(found).encode()).hexdigest()


def _tokenizer_file(path: Path) -> str:
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_bytes())
        except ValueError:  # loading says so
            return content_digest(path)
        if path.name == "tokenizer_config.json" and isinstance(content, dict):
            content = {key: value for key, value in content.items() if key not in _TOKENIZER_SAYS_NOTHING}
        return hashlib.sha256(_canonical(content).encode()).hexdigest()
    return content_digest(path)


def _chat_template(folder: Path) -> str | None:
    """Digest of the template, wherever it is written; None where there is none."""
    alone = folder / "chat_template.jinja"
    if alone.is_file():
        return hashlib.sha256(_canonical(alone.read_text(encoding="utf-8")).encode()).hexdigest()
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            template = _object(folder / name).get("chat_template")
            if template is not None:
                return hashlib.sha256(_canonical(template).encode()).hexdigest()
    return None


def _read_by_model(values: Mapping[str, Any]) -> Values:
    """The values without those that change no computation, at any depth."""
    return {
        key: _read_by_model(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in _SAYS_NOTHING
        and not key.endswith(_TRAINING)
        and (not key.startswith("_") or key == "_class_name")
    }


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    # 10000.0 and 10000 are one number, whichever a library writes.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _object(path: Path) -> Values:
    """The object in a JSON file; empty where there is no file, which loading the model reports."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); save or download the model again.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object; save or download the model again.")
    return found


# A digest of weights by their tensors, so that the same weights are the same in one file or several.
#
# Only the standard library; a file is read once and then remembered until the file system says that it changed.

Found = TypeVar("Found")

# Reading a smaller file again costs less than what is written to remember it.
_WORTH_KEEPING = 64 << 20
# A file that changed this long before it was read may change again within one tick of the file system's clock.
_SETTLED = 100_000_000
_remembered: dict[tuple[str, str], Any] = {}


def tensors_digest(files: Iterable[Path]) -> str:
    """SHA-256 over name, dtype, shape and bytes of all tensors in safetensors files, in the order of their names.

    How tensors are spread over files, their order and the files' metadata do not count. A file that is no safetensors
    counts by its content.
    """
    tensors: dict[str, str] = {}
    for file in files:
        tensors |= remember("tensors", file, _tensors, keep=True)
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode()).hexdigest()


def remember(kind: str, path: Path, read: Callable[[Path], Found], *, keep: bool = False) -> Found:
    """`read(path)`, done once for as long as neither the file's inode nor its size nor its times change.

    With `keep`, what was read of large files is kept in the user's cache folder too, for the next process. `read` must
    give what JSON can hold.
    """
    before = _signature(path)
    key = (kind, before)
    if key in _remembered:
        found: Found = _remembered[key]
        return found
    kept = _kept(kind, before) if keep and path.stat().st_size >= _WORTH_KEEPING else None
    if kept is not None:
        with suppress(OSError, ValueError):
            found = _remembered[key] = json.loads(kept.read_text(encoding="utf-8"))
            return found
    settled = time.time_ns() - path.stat().st_ctime_ns > _SETTLED
    found = read(path)
    if settled and _signature(path) == before:
        _remembered[key] = found
        if kept is not None:
            _write(kept, json.dumps(found))
    return found


def _signature(path: Path) -> str:
    found = path.stat()
    return f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def _kept(kind: str, signature: str) -> Path | None:
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home
        return None
    return cache / "steerwright" / kind / f"{signature}.json"


def _write(path: Path, text: str) -> None:
    # A cache that cannot be written costs time only.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def _tensors(path: Path) -> dict[str, str]:
    """`dtype shape sha256` of every tensor by name."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= path.stat().st_size - 8:
            return {f"/{path.name}": content_digest(path)}
        try:
            entries = json.loads(file.read(length))
            parts = [
                (name, f"{entry['dtype']} {entry['shape']}", *(8 + length + int(at) for at in entry["data_offsets"]))
                for name, entry in entries.items()
                if name != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return {f"/{path.name}": content_digest(path)}
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as view,
            # hashlib lets other threads run while it reads.
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads,
        ):
            digests = list(threads.map(lambda part: _digest(view, part[2], part[3]), parts))
    return {name: f"{kind} {digest}" for (name, kind, *_), digest in zip(parts, digests, strict=True)}


def _digest(view: memoryview, start: int, stop: int) -> str:
    with view[start:stop] as part:
        return hashlib.sha256(part).hexdigest()
