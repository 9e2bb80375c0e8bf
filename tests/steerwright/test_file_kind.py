"""Files of other programs are called what they are, from their first bytes and the names in them."""

import collections
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from steerwright.file_kind import kind_of
from steerwright.files import lfs_pointer_in
from steerwright.torch_file import is_torch_file

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 3463726498\n"
NAMES = {
    "lora": [
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",  # kohya, ComfyUI
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",  # peft
        "unet.down_blocks.0.attentions.0.to_q.lora.up.weight",  # diffusers
        "lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a",  # LoHa
    ],
    "embedding": ["<cat-toy>", "emb_params"],
    "controlnet": ["controlnet_cond_embedding.conv_in.weight", "control_model.input_hint_block.0.weight"],
    "adapter": ["ip_adapter.1.to_k_ip.weight"],
    "model": [
        "model.layers.0.self_attn.q_proj.weight",  # Llama
        "transformer.h.0.attn.c_attn.weight",  # GPT-2
        "model.diffusion_model.input_blocks.0.0.weight",  # ComfyUI
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight",  # T5
        "text_model.encoder.layers.0.mlp.fc1.weight",
        "double_blocks.0.img_attn.proj.weight",  # FLUX
    ],
    "tensors": ["layer_12", "vector", "model.layers.12", "direction.12", "evil"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", "-old.pt"])
def test_the_names_of_tensors_tell(kind: str, name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    tensors = {name: torch.zeros(2, 2), "other": torch.ones(3)} if kind == "tensors" else {name: torch.zeros(2, 2)}
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=suffix == ".pt")
    found = kind_of(path)
    assert found is not None and found.kind == kind
    assert kind == "tensors" or name in found.names


@pytest.mark.parametrize(("length", "looks"), [(640, b"\x80\x02"), (1152, b"\x80\x04"), (19280, b"PK")])
def test_a_header_whose_length_looks_like_another_file_is_one_of_safetensors(
    length: int, looks: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "sae.safetensors"
    header = json.dumps({"W_enc": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}).ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + header.encode() + bytes(4))
    assert path.read_bytes()[:2] == looks and not is_torch_file(path)
    found = kind_of(path)
    assert found is not None and found.kind == "tensors" and found.names == {"W_enc"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (LFS.encode(), "lfs"),
        (b"<!DOCTYPE html><html>Access denied</html>", "page"),
        (b'\n{"error": "Repository not found"}', "json"),
        (b'{"schema": 5, "cfg": {}}\nPK\x03\x04...', "saev"),
        (b"GGUF\x03\x00\x00\x00", "gguf"),
        (pickle.dumps({0: collections.OrderedDict()}), "pickle"),
        (b"", None),
        (b"\x01\x02\x03", None),
        (b"PK\x05\x06", None),
    ],
)
def test_the_first_bytes_tell(content: bytes, kind: str | None, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    found = kind_of(tmp_path / "file")
    assert (None if found is None else found.kind) == kind


def test_archives_of_numpy_are_no_files_of_torch(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"W_enc": np.zeros((2, 3)), "W_dec": np.zeros((3, 2))}
    np.savez(tmp_path / "sae.npz", **arrays)
    np.savez(tmp_path / "own.npz", **{"00000.unit": np.zeros(2), "header": np.array(json.dumps({}))})
    np.savez(tmp_path / "any.npz", x=np.zeros(2))
    kinds = [kind_of(tmp_path / f"{name}.npz") for name in ("sae", "own", "any")]
    assert [found and found.kind for found in kinds] == ["sae", "own_npz", "npz"]


def test_a_pointer_in_a_folder_is_found_at_any_depth_and_says_what_to_do(tmp_path: Path) -> None:
    assert lfs_pointer_in(tmp_path) is None and lfs_pointer_in(None) is None
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.safetensors").write_text(LFS)
    told = lfs_pointer_in(tmp_path)
    assert told is not None and told.startswith(f"{tmp_path / 'unet' / 'model.safetensors'} is a Git LFS pointer")
    assert "git lfs pull" in told
