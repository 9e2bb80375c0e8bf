"""Files of other tools given to every command: imported where they are vectors, else named and left alone."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from steerwright.errors import UserError
from steerwright.vectors.formats.gguf import write_gguf
from steerwright.vectors.formats.vectors_file import load_vectors
from tests.command_line import steerwright

REPOSITORY = Path(__file__).parents[3]
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 3463726498\n"


@pytest.fixture
def folder(language_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a language model with 4 blocks, 32 wide."""
    monkeypatch.chdir(REPOSITORY)
    return language_folder("mistral")


def test_persona_vectors_are_imported_and_steer(folder: Path, tmp_path: Path) -> None:
    rows = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    torch.save(rows, tmp_path / "evil_response_avg_diff.pt")
    out = tmp_path / "evil.safetensors"
    said = steerwright("vectors", "import", tmp_path / "evil_response_avg_diff.pt", "--model", folder, "-o", out)
    assert "4 vectors for 4 layers" in said and "the embeddings', is left out" in said
    found = load_vectors(out)
    assert found.concept == "evil" and found.estimator == "imported-tensors"
    for layer, direction in enumerate(found.directions.values()):
        torch.testing.assert_close(direction.norm * direction.unit, rows[layer + 1])
    said = steerwright("generate", "--model", folder, "--prompt", "a lake", "--vectors", out, "--add", 1, "--layer", 2,
                    "--tokens", 3)  # fmt: skip
    assert "steered:" in said


def test_a_vector_of_seed_003s_lab_and_one_whose_layer_is_said(folder: Path, tmp_path: Path) -> None:
    torch.save(torch.ones(32), tmp_path / "happy_layer2_tensor.pt")
    meta = {"name": "happy", "layer_idx": 2, "norm": 32**0.5}
    (tmp_path / "happy_layer2_meta.json").write_text(json.dumps(meta))
    out = tmp_path / "v.safetensors"
    steerwright("vectors", "import", tmp_path / "happy_layer2_tensor.pt", "--model", folder, "-o", out)
    found = load_vectors(out)
    assert found.concept == "happy" and [point.path for point in found.hookpoints] == ["model.layers.2"]
    torch.save(torch.ones(4, 32), tmp_path / "rows.pt")
    rows = ("vectors", "import", tmp_path / "rows.pt", "--model", folder, "-o", out, "--force")
    assert "holds 4 vectors, and" in steerwright(*rows, fails=True)
    assert "4 vectors for 4 layers" in steerwright(*rows, "--layers", "0-3")
    assert "--steps is for vectors of pictures" in steerwright(*rows, "--layers", "0-3", "--steps", 5, fails=True)


def test_an_exported_npz_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    torch.save({3: torch.arange(32.0)}, tmp_path / "v.pt")
    ours, npz, back = (tmp_path / name for name in ("a.safetensors", "a.npz", "b.safetensors"))
    steerwright("vectors", "import", tmp_path / "v.pt", "--model", folder, "-o", ours)
    steerwright("vectors", "export", ours, "-o", npz, "--format", "npz")
    steerwright("vectors", "import", npz, "-o", back)
    before, after = load_vectors(ours), load_vectors(back)
    assert (after.concept, after.model) == (before.concept, before.model) and list(after.directions) == list(
        before.directions
    )
    assert "--model: " in steerwright("vectors", "import", npz, "-o", back, "--force", "--model", folder, fails=True)


class _Library:
    def __reduce__(self) -> Any:
        return dict, ()


def other(kind: str, folder: Path) -> Path:
    """A file of that kind."""
    path = folder / f"{kind}.bin"
    tensors = {
        "lora": {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.ones(2, 2)},
        "textual inversion": {"<cat-toy>": torch.ones(768)},
        "ControlNet": {"controlnet_cond_embedding.conv_in.weight": torch.ones(2, 2)},
        "autoencoder": {"W_enc": torch.ones(2, 2), "W_dec": torch.ones(2, 2)},
        "model's weights": {"model.layers.0.self_attn.q_proj.weight": torch.ones(2, 2)},
    }
    if kind in tensors:
        save_file(tensors[kind], path)
    elif kind == "Git LFS pointer":
        path.write_text(LFS)
    elif kind == "web page":
        path.write_text("<!doctype html><title>Sign in</title>")
    return path


KINDS = ["lora", "textual inversion", "ControlNet", "autoencoder", "model's weights", "Git LFS pointer", "web page"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_vectors_is_called_what_it_is_at_every_door(kind: str, folder: Path, tmp_path: Path) -> None:
    path = other(kind, tmp_path)
    words = "a LoRA" if kind == "lora" else kind
    for arguments in (
        ("vectors", "import", path, "--model", folder, "-o", tmp_path / "out"),
        ("vectors", "inspect", path),
        ("vectors", "export", path, "--format", "npz", "-o", tmp_path / "out"),
        ("generate", "--model", folder, "--prompt", "x", "--vectors", path, "--add", 1, "--layer", 1),
    ):
        told = steerwright(*arguments, fails=True)
        assert words in told and str(path) in told and "damaged" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "autoencoder"])
def test_what_is_no_autoencoder_is_called_what_it_is(kind: str, tmp_path: Path) -> None:
    told = steerwright("sae", "import", other(kind, tmp_path), "-o", tmp_path / "out", fails=True)
    assert ("a LoRA" if kind == "lora" else kind) in told and "damaged" not in told


def test_vectors_and_autoencoders_in_each_others_place(folder: Path, tmp_path: Path) -> None:
    torch.save({1: torch.ones(32)}, tmp_path / "v.pt")
    ours = tmp_path / "v.safetensors"
    steerwright("vectors", "import", tmp_path / "v.pt", "--model", folder, "-o", ours)
    assert "take it as --vectors" in steerwright("sae", "inspect", ours, fails=True)
    assert "`steerwright vectors import`" in steerwright("sae", "inspect", tmp_path / "v.pt", fails=True)
    assert "need no import" in steerwright(
        "vectors", "import", ours, "--model", folder, "-o", tmp_path / "x", fails=True
    )
    torch.save(torch.ones(32), tmp_path / "one.pt")
    assert "`steerwright vectors import`" in steerwright("sae", "inspect", tmp_path / "one.pt", fails=True)
    np.savez(tmp_path / "params.npz", W_enc=np.ones((2, 3)), W_dec=np.ones((3, 2)))
    told = steerwright(
        "vectors", "import", tmp_path / "params.npz", "--model", folder, "-o", tmp_path / "x", fails=True
    )
    assert "`steerwright sae import` reads it" in told
    for door in (("vectors", "inspect"), ("sae", "inspect")):
        assert "vectors" in steerwright(*door, tmp_path / "v.pt", fails=True)


def test_files_that_may_be_imported_say_so_where_vectors_are_wanted(folder: Path, tmp_path: Path) -> None:
    torch.save({1: torch.ones(32)}, tmp_path / "v.pt")
    save_file({"layer_1": torch.ones(32)}, tmp_path / "v.safetensors")
    for name in ("v.pt", "v.safetensors"):
        assert "`steerwright vectors import` reads it" in steerwright("vectors", "inspect", tmp_path / name, fails=True)


@pytest.mark.parametrize(
    ("module", "words"), [("steering_vectors.steering_vector", "save_file"), ("repeng.control", "export_gguf")]
)
def test_pickled_objects_of_known_libraries_say_how_to_get_them_out(
    module: str, words: str, folder: Path, tmp_path: Path
) -> None:
    name = module.encode()
    content = b"\x80\x04\x8c" + bytes([len(name)]) + name + b"\x8c\x01X\x93)\x81."
    (tmp_path / "v.pkl").write_bytes(content)
    told = steerwright("vectors", "import", tmp_path / "v.pkl", "--model", folder, "-o", tmp_path / "x", fails=True)
    assert f"is a pickle of {module.partition('.')[0]}" in told and words in told
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps([_Library()]))
    plain = ("vectors", "import", tmp_path / "plain.pkl", "--model", "seasons-sd", "-o", tmp_path / "x")
    assert "was refused, and nothing in it was run" in steerwright(*plain, fails=True)


def test_a_removal_vector_that_is_exported_says_that_its_readers_add(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(REPOSITORY)
    concepts = Path("models/seasons-concepts")
    for format in ("gguf", "npz"):
        out = tmp_path / f"pirate.{format}"
        removal = concepts / "removals" / "vectors" / "pirate.safetensors"
        said = steerwright("vectors", "export", removal, "--format", format, "-o", out)
        assert "removal vectors" in said and "llama.cpp and repeng only add" in said and out.is_file()
    own = concepts / "vectors" / "vectors" / "pirate.safetensors"
    said = steerwright("vectors", "export", own, "--format", "gguf", "-o", tmp_path / "own.gguf")
    assert "removal vectors" not in said
    with pytest.warns(UserWarning, match="projected out of every token"):
        write_gguf(load_vectors(removal), tmp_path / "again.gguf", "llama")


def test_a_pointer_in_place_of_a_models_weights_is_called_that(
    language_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    from steerwright.models.language.load import load_language_model
    from steerwright.models.language.spec import LanguageSpec

    for path in language_folder("mistral").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_text(LFS)
    with pytest.raises(UserError, match=r"model\.safetensors is a Git LFS pointer.*git lfs pull"):
        load_language_model(LanguageSpec(name="tiny", source=str(tmp_path)), device=torch.device("cpu"))
