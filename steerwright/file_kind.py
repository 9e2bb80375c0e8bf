"""What a file of another program is, told from its first bytes and the names in it: nothing is run, no tensor is read.

So a message can say what was given, where it would otherwise say that the file is damaged.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steerwright.files import LFS_START, LFS_WORDS
from steerwright.former_name import header_of

Kind = Literal[
    "lfs", "page", "json", "gguf", "npy", "npz", "pickle", "lora", "embedding", "controlnet", "adapter", "sae", "saev",
    "model", "own_vectors", "own_npz", "own_sae", "tensors",
]  # fmt: skip
# How torch.save began before it wrote zip archives: a pickle of its magic number.
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
MOST_HEADER = 100_000_000
"""Bytes of a header of safetensors, as its own library allows."""
_MOST_PICKLE = 1 << 24


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file is: `kind` for programs, `words` for people ("a LoRA, which ..."), `names` of what it holds."""

    kind: Kind
    words: str
    names: frozenset[str] = frozenset()


_WORDS: dict[Kind, str] = {
    "lfs": LFS_WORDS,
    "page": "a web page or an error message, not the file that was meant: download it again from its own address",
    "json": "JSON, a description and no tensors: give the file of tensors that it belongs to",
    "saev": "an autoencoder of saev, which steerwright does not read",
    "lora": "a LoRA, which changes a model's weights and is no direction: load it into the model with the library that "
    "it was made for (load_lora_weights of diffusers, peft)",
    "embedding": "an embedding of textual inversion, a new word for a text encoder and no direction: load it with "
    "load_textual_inversion of diffusers",
    "controlnet": "a ControlNet, a network of its own beside the model and no direction",
    "adapter": "an IP-Adapter, weights beside the model's own and no direction",
    "sae": "a sparse autoencoder: `steerwright sae import` reads it",
    "own_sae": "a sparse autoencoder of steerwright's, which lies in a folder with its config.json",
    "model": "a model's weights: give the folder that they are in as --model",
    "own_vectors": "steering vectors of steerwright's",
    "own_npz": "steering vectors of steerwright's, exported as npz: `steerwright vectors import` reads them",
    "npy": "an array of NumPy",
    "npz": "an archive of NumPy",
    "gguf": "a GGUF file",
    "pickle": "a pickle",
    "tensors": "tensors without a word of what they are",
}
_LORA = re.compile(r"[._]lora[._]|lora_(?:up|down|a|b|te|unet|linear)|\.hada_w|\.lokr_|dora_scale", re.IGNORECASE)
_CONTROLNET = re.compile(r"controlnet_|^control_model\.|input_hint_block")
_EMBEDDING = re.compile(r"^<.+>$|^string_to_(?:param|token)$|^emb_params$")
_ADAPTER = re.compile(r"^(?:ip_adapter|image_proj)\b")
_SAES: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "W_enc W_dec", "w_enc w_dec", "W_E W_D", "encoder.weight W_dec", "encoder.weight decoder.weight",
        "encoder.weight latent_bias", "encoder decoder decoder_bias",
    )
)  # fmt: skip
# The last name of a parameter, and what parts of networks are called.
_WEIGHT = re.compile(
    r"(?:^|\.)(?:\w*(?:proj|attn|mlp|norm|conv|emb|embed|embeddings|embed_tokens|wte|wpe|lm_head|fc\d|dense|query|key|value|"
    r"proj_in|proj_out|ff|net|to_[qkv]|time_embed|linear|layers?|blocks?|h)\w*)(?:\.\w+)*\.(?:weight|bias)$"
)


PLAIN: frozenset[Kind] = frozenset({"tensors", "npy", "npz"})
"""Files that hold arrays and no word of what they are: vectors, perhaps."""


def kind_of(path: Path) -> FileKind | None:
    """What the file `path` is; None where that is not to be told (damaged, empty, of a kind that is not known)."""
    try:
        with path.open("rb") as file:
            start = file.read(1024)
        # Before all others: a header's length may begin with their bytes (640 is 80 02, 19280 is PK).
        if begins_as_safetensors(path):
            return _safetensors(path)
        if start.startswith(LFS_START):
            return _kind("lfs")
        if start.lstrip()[:1] == b"<":
            return _kind("page")
        if start.lstrip()[:1] in (b"{", b"["):
            return _kind("saev" if b'"schema"' in start and b"PK\x03\x04" in start else "json")
        if start.startswith(b"GGUF"):
            return _kind("gguf")
        if start.startswith(b"\x93NUMPY"):
            return _kind("npy")
        if start.startswith(b"PK"):
            return _archive(path)
        if start[:1] == b"\x80":
            return _pickle(path, start)
        return None
    except (OSError, ValueError, zipfile.BadZipFile, RecursionError):
        return None


def begins_as_safetensors(path: Path) -> bool:
    """Whether `path` begins with the length of a header that it has room for, and a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= min(MOST_HEADER, path.stat().st_size - 8)


def _kind(kind: Kind, names: Iterable[str] = ()) -> FileKind:
    return FileKind(kind, _WORDS[kind], frozenset(names))


def _archive(path: Path) -> FileKind | None:
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        arrays = {name.removesuffix(".npy") for name in members if name.endswith(".npy")}
        pickle = next((name for name in members if name.endswith("data.pkl")), None)
        if pickle is None:
            if not arrays:
                return None
            if "header" in arrays and any(name.endswith(".unit") for name in arrays):
                return _kind("own_npz", arrays)
            return _by_names(arrays) or _kind("npz", arrays)
        content = archive.read(pickle) if archive.getinfo(pickle).file_size <= _MOST_PICKLE else b""
    names = _texts(content)
    return _by_names(names) or _kind("tensors", names)


def _pickle(path: Path, start: bytes) -> FileKind:
    content = path.read_bytes() if path.stat().st_size <= _MOST_PICKLE else b""
    names = _texts(content)
    torch = start.startswith(_OLD_TORCH)
    return _by_names(names) or _kind("tensors" if torch else "pickle", names)


def _safetensors(path: Path) -> FileKind | None:
    with path.open("rb") as file:
        header: Any = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    if not isinstance(header, Mapping):
        return None
    metadata = header.get("__metadata__")
    names = {str(name) for name in header if name != "__metadata__"}
    if isinstance(metadata, Mapping) and header_of(metadata) is not None:
        return _kind("own_vectors", names)
    if {"encoder", "decoder", "encoder_bias", "decoder_bias"} <= names:
        return _kind("own_sae", names)
    return _by_names(names) or _kind("tensors", names)


def _by_names(names: Iterable[str]) -> FileKind | None:
    """What holds tensors of these names, if they tell."""
    found = frozenset(names)
    bare = {name.rpartition("._orig_mod.")[2].removeprefix("_orig_mod.").removeprefix("module.") for name in found}
    for kind, pattern in (
        ("lora", _LORA), ("controlnet", _CONTROLNET), ("embedding", _EMBEDDING), ("adapter", _ADAPTER),
    ):  # fmt: skip
        if any(pattern.search(name) for name in found):
            return _kind(kind, found)  # type: ignore[arg-type]  # each is a Kind
    if {"clip_l", "clip_g"} <= found:
        return _kind("embedding", found)
    if any(names <= bare for names in _SAES):
        return _kind("sae", found)
    if any(_WEIGHT.search(name) for name in found):
        return _kind("model", found)
    return None


def _texts(content: bytes) -> set[str]:
    """Texts and names that pickles hold, one after the other as torch.save wrote them, read off their instructions."""
    found: set[str] = set()
    file = io.BytesIO(content)
    try:
        while file.tell() < len(content):
            for _, argument, _ in pickletools.genops(file):
                if isinstance(argument, str):
                    found.add(argument)
    except (ValueError, IndexError):
        pass  # it is damaged from here on, or holds the tensors' bytes
    return found
