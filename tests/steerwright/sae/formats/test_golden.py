"""Checkpoints that the real libraries saved, with the latents and reconstructions that they gave: tests/data/sae.

The scripts in peers/ made them. test_peers.py does the same with the libraries themselves.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from steerwright.sae.formats.registry import export_checkpoint, import_sae, read_checkpoint
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import load_sae

GOLDEN = Path(__file__).parents[3] / "data" / "sae"
CASES = sorted(path.with_suffix("") for path in GOLDEN.glob("*/*.npz"))
# What a state dict holds after import and export again, name by name, as the library wrote it.
EXACT = [
    "dictionary_learning/batchtopk",
    "dictionary_learning/gated",
    "dictionary_learning/jumprelu",
    "dictionary_learning/matryoshka",
    "dictionary_learning/new",
    "dictionary_learning/standard",
    "dictionary_learning/topk-threshold",
    "saelens/abstopk",
    "saelens/gated",
    "saelens/jumprelu-constant_norm",
    "saelens/legacy-jumprelu",
    "saelens/legacy-topk",
    "saelens/standard-no_b_dec",
    "saelens/topk-bf16",
    "saelens/topk-layer_norm",
    "sparsify/groupmax",
    "sparsify/topk-bf16",
    "sparsify/topk-expansion",
    "sparsify/topk-transcode-skip",
]


def checkpoint_id(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def weights(folder: Path) -> dict[str, Tensor]:
    path = next(path for path in folder.iterdir() if path.suffix in (".pt", ".safetensors"))
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.load(GOLDEN / "rows.npy")


def test_there_are_checkpoints_of_each_library() -> None:
    assert {path.parent.name for path in CASES} == {"dictionary_learning", "saelens", "sparsify"}
    assert len(CASES) >= 25


@pytest.mark.parametrize("path", CASES, ids=checkpoint_id)
def test_a_checkpoint_gives_what_its_library_gave(
    path: Path, rows: np.ndarray, agrees: Callable[[Sae, np.ndarray, Path], None], tmp_path: Path
) -> None:
    found, _, name = read_checkpoint(path)
    assert name == path.parent.name
    agrees(found.sae, rows, path.with_suffix(".npz"))
    # And so does what an import leaves on the disk.
    import_sae(path, tmp_path / "ours")
    agrees(load_sae(tmp_path / "ours"), rows, path.with_suffix(".npz"))


@pytest.mark.parametrize("name", EXACT)
def test_there_and_back_leaves_every_tensor_as_it_was(name: str, tmp_path: Path) -> None:
    path = GOLDEN / name
    import_sae(path, tmp_path / "ours")
    found, _, _ = read_checkpoint(tmp_path / "ours")
    export_checkpoint(found, tmp_path / "theirs", path.parent.name)
    expected, again = weights(path), weights(tmp_path / "theirs")
    assert expected.keys() == again.keys()
    for tensor_name, tensor in expected.items():
        assert torch.equal(again[tensor_name], tensor), tensor_name
        assert again[tensor_name].dtype == tensor.dtype, tensor_name
