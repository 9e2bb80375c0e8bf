"""Vectors that others keep as plain tensors: each at the layer that it was taken at, or what is missing is told."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.formats.plain_file import read_plain
from steerwright.vectors.steering_vectors import SteeringVectors, layer_number

BLOCKS, WIDTH = 4, 6
MODEL = Fingerprint(name="toy", source="toy", revision=None, digest="d" * 64, libraries={})
HOOKPOINTS = [Hookpoint(f"model.layers.{layer}") for layer in range(BLOCKS)]


def read(path: Path, **more: Any) -> SteeringVectors:
    return read_plain(path, MODEL, HOOKPOINTS, WIDTH, **more).vectors


def planted(layer: int) -> Tensor:
    """A vector whose direction and length say where it was planted: `layer + 2` along axis `layer + 1`."""
    return (layer + 2) * torch.eye(WIDTH)[layer + 1]


def assert_planted(found: SteeringVectors, layers: list[int]) -> None:
    assert [layer_number(point) for point in found.hookpoints] == layers
    for slot, direction in found.directions.items():
        layer = layer_number(slot.hookpoint)
        assert layer is not None and slot.hookpoint.where == "out"
        torch.testing.assert_close(direction.norm * direction.unit, planted(layer))


def lab(folder: Path, layer: Any = 2, norm: float = 4.0, name: str = "happy_layer2") -> Path:
    torch.save(planted(2).half(), folder / f"{name}_tensor.pt")
    meta = {"name": "happy", "layer_idx": layer, "concept_prompt": "I feel joyful", "norm": norm}
    (folder / f"{name}_meta.json").write_text(json.dumps(meta))
    return folder / f"{name}_tensor.pt"


def test_the_lab_of_seed_003_says_layer_and_name_beside_the_tensor(tmp_path: Path) -> None:
    found = read(lab(tmp_path, name="mine"))
    assert_planted(found, [2])
    assert (found.concept, found.token_policy, found.model) == ("happy", "last", MODEL)
    assert read(tmp_path / "mine_tensor.pt", concept="joy").concept == "joy"


def test_a_tensor_and_a_description_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is 4 long, but happy_layer2_meta\.json says 7"):
        read(lab(tmp_path, norm=7.0))
    with pytest.raises(UserError, match="is of layer 2, as it says itself, and not of 1"):
        read(lab(tmp_path), layers=[1])
    (tmp_path / "happy_layer2_meta.json").write_text("{")
    with pytest.raises(UserError, match=r"happy_layer2_meta\.json cannot be read"):
        read(tmp_path / "happy_layer2_tensor.pt")


def test_without_its_description_the_files_name_says_the_layer(tmp_path: Path) -> None:
    path = lab(tmp_path)
    (tmp_path / "happy_layer2_meta.json").unlink()
    read_ = read_plain(path, MODEL, HOOKPOINTS, WIDTH)
    assert_planted(read_.vectors, [2])
    assert read_.vectors.concept == "happy" and "block 2, blocks counted from 0" in read_.notes[0]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_persona_vectors_are_those_of_hidden_states(suffix: str, tmp_path: Path) -> None:
    """Row 0 is the embeddings'; row N is hidden_states[N], the output of block N - 1."""
    rows = torch.stack([torch.full((WIDTH,), 9.0), *(planted(layer) for layer in range(BLOCKS))])
    path = tmp_path / f"evil_response_avg_diff{suffix}"
    torch.save(rows, path) if suffix == ".pt" else save_file({"vector": rows}, path)
    read_ = read_plain(path, MODEL, HOOKPOINTS, WIDTH)
    assert_planted(read_.vectors, [0, 1, 2, 3])
    assert read_.vectors.concept == "evil" and "embeddings" in read_.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        {"1": 1, "3": 3}, {"layer_1": 1, "layer_3": 3}, {"model.layers.1": 1, "model.layers.3": 3},
        {"transformer.h.1": 1}, {"direction.1": 1, "direction.2": 2}, {"blocks.1.hook_resid_post": 1},
        {"blocks.2.hook_resid_pre": 1}, {"hidden_states.2": 1}, {1: 1, 3: 3}, {0: 0, 1: 1, 2: 2, 3: 3},
        # The highest number is that of blocks: an index of hidden_states.
        {0: -1, 1: 0, 2: 1, 3: 2, 4: 3}, {"layer_1": 0, "layer_4": 3},
    ],
)  # fmt: skip
def test_names_say_the_layers(names: dict[Any, int], tmp_path: Path) -> None:
    tensors = {name: planted(layer) for name, layer in names.items()}
    torch.save(tensors, tmp_path / "v.pt")
    expected = [layer for layer in names.values() if layer >= 0]
    assert_planted(read(tmp_path / "v.pt"), expected)
    if all(isinstance(name, str) for name in names):
        save_file({str(name): tensor for name, tensor in tensors.items()}, tmp_path / "v.safetensors")
        assert_planted(read(tmp_path / "v.safetensors"), expected)


def test_arrays_of_numpy_are_read_like_tensors(tmp_path: Path) -> None:
    rows = np.stack([np.zeros(WIDTH), *(planted(layer).numpy() for layer in range(BLOCKS))]).astype(np.float32)
    np.save(tmp_path / "v.npy", rows)
    assert_planted(read(tmp_path / "v.npy"), [0, 1, 2, 3])
    np.savez(tmp_path / "v.npz", layer_1=rows[2], layer_2=rows[3])
    assert_planted(read(tmp_path / "v.npz"), [1, 2])
    (tmp_path / "v.pkl").write_bytes(pickle.dumps({1: rows[2], 3: rows[4]}))
    assert_planted(read(tmp_path / "v.pkl"), [1, 3])
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read as arrays of NumPy"):
        read(tmp_path / "o.npy")


def test_what_lies_in_a_dict_of_other_libraries_is_found(tmp_path: Path) -> None:
    inner = {1: planted(1), 2: planted(2)}
    torch.save({"layer_activations": inner, "layer_type": "decoder_block"}, tmp_path / "a.pt")
    assert_planted(read(tmp_path / "a.pt"), [1, 2])
    torch.save({"layer_activations": inner, "layer_type": "mlp"}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="holds vectors of 'mlp'"):
        read(tmp_path / "b.pt")
    torch.save({"vector": planted(3), "layer": 3, "coef": 1.5}, tmp_path / "c.pt")
    assert_planted(read(tmp_path / "c.pt"), [3])
    save_file({"happy": planted(2), "sad": planted(1)}, tmp_path / "d.safetensors", metadata={"layer": "2"})
    found = read(tmp_path / "d.safetensors", concept="happy")
    assert_planted(found, [2])
    with pytest.raises(UserError, match="say which with --concept"):
        read(tmp_path / "d.safetensors")


def test_layers_are_stated_where_the_file_does_not_say_them_and_never_guessed(tmp_path: Path) -> None:
    torch.save(planted(1), tmp_path / "one.pt")
    with pytest.raises(UserError, match=r"does not say of which layer it is; .* --layers N, .* from 0 to 3"):
        read(tmp_path / "one.pt")
    assert_planted(read(tmp_path / "one.pt", layers=[1]), [1])
    # As many rows as blocks: with the embeddings' and without the last, or the other way round?
    torch.save(torch.stack([planted(layer) for layer in range(BLOCKS)]), tmp_path / "four.pt")
    with pytest.raises(UserError, match="holds 4 vectors, and toy has 4 blocks: with 5 they would be"):
        read(tmp_path / "four.pt")
    assert_planted(read(tmp_path / "four.pt", layers=[0, 1, 2, 3]), [0, 1, 2, 3])
    with pytest.raises(UserError, match="holds 4 vectors, but --layers names 2"):
        read(tmp_path / "four.pt", layers=[0, 1])
    torch.save({"layer_1": planted(1)}, tmp_path / "named.pt")
    with pytest.raises(UserError, match="names the layers of its vectors itself"):
        read(tmp_path / "named.pt", layers=[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layer_7": torch.ones(WIDTH)}, "a vector for layer 7, but toy has layers 0 to 3; it is of another model"),
        ({"layer_1": torch.ones(8)}, r"layer 1 has the shape \[8\], but toy is 6 wide"),
        ({"layer_1": torch.full((WIDTH,), torch.nan)}, "not finite"),
        ({"layer_1": torch.ones(WIDTH, dtype=torch.int64)}, "not finite numbers"),
        ({"layer_1": torch.zeros(WIDTH)}, "no vector that is not zero"),
        ({"layer_1": torch.ones(WIDTH), "1": torch.ones(WIDTH)}, "several vectors for layer 1"),
        ({"layer_1": torch.ones(WIDTH), "mean": torch.ones(WIDTH)}, "holds mean among vectors"),
        ({"epoch": 3}, "holds no tensors"),
        (torch.ones(2, 3, 4), r"a tensor of shape \[2, 3, 4\]"),
        ([torch.ones(WIDTH)], "holds a list"),
    ],
)
def test_what_cannot_be_is_a_users_error(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "v.pt")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "v.pt")


def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Shell:
        def __reduce__(self) -> Any:
            import os

            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"layer_1": Shell()}, tmp_path / "v.pt")
    with pytest.raises(UserError, match=r"asks for (posix|nt)\.system"):
        read(tmp_path / "v.pt")
    assert not (tmp_path / "ran").exists()
