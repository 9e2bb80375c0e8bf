"""What of sparsify no golden file shows, and SAeUron, which has its layout but no package to install."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from steerwright.errors import UserError
from steerwright.sae.activations import GroupMax, Relu, TopK
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.formats.registry import export_checkpoint, read_checkpoint
from steerwright.sae.sae import ConstantNorm, PerRow, Sae

N, D, K = 12, 6, 3
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """save(config, **tensors): a checkpoint with these settings, and these tensors beside the usual ones."""

    def write(config: dict[str, Any], **tensors: Tensor) -> Path:
        generator = torch.Generator().manual_seed(0)
        usual = {
            "encoder.weight": torch.randn(N, D, generator=generator),
            "encoder.bias": torch.randn(N, generator=generator),
            "W_dec": torch.randn(N, D, generator=generator),
            "b_dec": torch.randn(D, generator=generator),
        }
        save_file(usual | tensors, tmp_path / "sae.safetensors")
        (tmp_path / "cfg.json").write_text(json.dumps({"d_in": D, "num_latents": N, "k": K} | config))
        return tmp_path

    return write


def saeuron(folder: Path, rows: Tensor, unit_norm: bool) -> tuple[Tensor, Tensor]:
    """Latents [rows, n], dense, and reconstruction, as SAE/sae.py of SAeUron computes them for single patches."""
    weights = load_file(folder / "sae.safetensors")
    if unit_norm:
        mean = rows.mean(-1, keepdim=True)
        rows = rows - mean
        deviation = rows.std(-1, keepdim=True)
        rows = rows / (deviation + 1e-5)
    pre = torch.relu(
        torch.nn.functional.linear(rows - weights["b_dec"], weights["encoder.weight"], weights["encoder.bias"])
    )
    values, indices = pre.topk(K, sorted=False)
    latents = torch.zeros_like(pre).scatter_(1, indices, values)
    out = latents @ weights["W_dec"] + weights["b_dec"]
    return latents, out * deviation + mean if unit_norm else out


@pytest.mark.parametrize("unit_norm", [False, True])
def test_saeuron_gives_the_latents_of_its_own_code(unit_norm: bool, save: Save) -> None:
    found, _, name = read_checkpoint(save({"input_unit_norm": unit_norm, "batch_topk": True, "sample_topk": False}))
    assert (name, found.library, found.facts["architecture"]) == ("saeuron", "SAeUron", "batchtopk")
    # Small rows, where leaving eps out of the way there, or putting it into the way back, would show.
    rows = torch.randn(64, D, generator=torch.Generator().manual_seed(1)) * 1e-3
    expected, reconstruction = saeuron(save({}), rows, unit_norm)
    latents, decoded = found.sae.reconstruct(rows)
    torch.testing.assert_close(latents.dense(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(decoded, reconstruction, rtol=1e-5, atol=1e-6)


def test_saeuron_says_that_each_row_has_its_own_k(save: Save) -> None:
    found, _, _ = read_checkpoint(save({"batch_topk": True, "input_unit_norm": False}))
    assert found.notes == (
        "trained with batch_topk: SAeUron uses it, and so does steerwright, with the 3 largest of each row",
    )
    assert found.lossy == ()


@pytest.mark.parametrize("unit_norm", [False, True])
def test_saeuron_there_and_back_is_the_same_files(unit_norm: bool, save: Save, tmp_path: Path) -> None:
    folder = save({"input_unit_norm": unit_norm, "batch_topk": False, "sample_topk": False})
    found, _, _ = read_checkpoint(folder)
    export_checkpoint(found, tmp_path / "out", "saeuron")
    before, after = load_file(folder / "sae.safetensors"), load_file(tmp_path / "out" / "sae.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    config = json.loads((tmp_path / "out" / "cfg.json").read_text())
    assert config == {
        "expansion_factor": 2,
        "normalize_decoder": True,
        "num_latents": N,
        "k": K,
        "multi_topk": False,
        "batch_topk": False,
        "sample_topk": False,
        "input_unit_norm": unit_norm,
        "d_in": D,
    }


def test_without_latents_in_the_configuration_there_are_as_many_as_its_factor_says(save: Save) -> None:
    assert read_checkpoint(save({"num_latents": 0, "expansion_factor": 2}))[0].sae.size == N
    with pytest.raises(UserError, match=r"encoder\.weight is \[12, 6\], but the others make it \[192, 6\]"):
        read_checkpoint(save({"num_latents": 0}))


def test_settings_that_sparsify_no_longer_has_are_losses(save: Save) -> None:
    assert read_checkpoint(save({"signed": False, "jumprelu": False, "multi_topk": True}))[0].lossy == ()
    found, _, name = read_checkpoint(save({"signed": True}))
    assert name == "sparsify" and len(found.lossy) == 1 and found.lossy[0].startswith("signed: true")


def test_a_skip_connection_that_is_switched_off_is_a_loss(save: Save) -> None:
    found, _, _ = read_checkpoint(save({}, W_skip=torch.eye(D)))
    assert found.sae.skip is None and found.lossy == ("W_skip, which this format does not have, is left out",)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"k": 0}, "k: "),
        ({"k": None}, "k: "),
        ({"k": 13}, "k = 13 does not fit 12 latents"),
        ({"activation": "groupmax", "k": 5}, "k = 5 does not fit 12 latents"),
        ({"activation": "softmax"}, "activation: "),
        ({"skip_connection": True}, "no tensor W_skip"),
    ],
)
def test_a_configuration_that_cannot_be_is_a_users_error(config: dict[str, Any], message: str, save: Save) -> None:
    with pytest.raises(UserError, match=message):
        read_checkpoint(save(config))


@pytest.mark.parametrize("name", ["sparsify", "saeuron"])
def test_what_it_does_not_have_is_not_written(name: str, tmp_path: Path) -> None:
    weights = torch.eye(4)

    def written(**how: Any) -> None:
        sae = Sae(weights, torch.zeros(4), weights, torch.zeros(4), **({"activation": TopK(2)} | how))
        export_checkpoint(ImportedSae(sae, "steerwright"), tmp_path / "out", name)

    with pytest.raises(UserError, match=f"cannot be written as {name}"):
        written(activation=Relu())
    with pytest.raises(UserError, match=f"cannot be written as {name}"):
        written(input_norm=ConstantNorm())
    with pytest.raises(UserError, match=f"cannot be written as {name}"):
        written(input_norm=PerRow(1e-5, 0))
    if name == "saeuron":
        with pytest.raises(UserError, match="without a skip connection"):
            written(skip=weights)
        with pytest.raises(UserError, match="TopK only"):
            written(activation=GroupMax(2))
    assert not (tmp_path / "out").exists()
