"""Gemma Scope, against the formula of its paper, written here again: JumpReLU, and no bias taken off the rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from steerwright.errors import UserError
from steerwright.sae.activations import JumpRelu, TopK
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.formats.registry import export_checkpoint, read_checkpoint
from steerwright.sae.sae import Sae

D, N = 6, 24
TWO = {
    "hf_hook_point_in": "model.layers.10.output", "hf_hook_point_out": "model.layers.10.output", "width": N, "l0": 20,
    "model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu", "affine_connection": False, "type": "sae",
}  # fmt: skip


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = {
        "W_enc": rng.normal(size=(D, N)), "W_dec": rng.normal(size=(N, D)), "b_enc": rng.normal(size=N),
        "b_dec": rng.normal(size=D), "threshold": np.abs(rng.normal(size=N)),
    }  # fmt: skip
    return {name: value.astype(np.float32) for name, value in found.items()}


def first(folder: Path, **changes: Any) -> Path:
    folder = folder / "layer_12" / "width_16k" / "average_l0_82"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **{k: v for k, v in (arrays() | changes).items() if v is not None})
    return folder


def second(folder: Path, config: dict[str, Any], place: str = "resid_post_all", **more: Any) -> Path:
    folder = folder / place / "layer_10_width_16k_l0_small"
    folder.mkdir(parents=True)
    tensors = {name.replace("W_", "w_"): torch.from_numpy(value) for name, value in arrays().items()}
    save_file(tensors | more, folder / "params.safetensors")
    (folder / "config.json").write_text(json.dumps(TWO | config))
    return folder


def assert_agrees(sae: Sae) -> None:
    weights, rows = arrays(), np.random.default_rng(1).normal(size=(64, D)).astype(np.float32)
    pre = rows @ weights["W_enc"] + weights["b_enc"]
    expected = np.where(pre > weights["threshold"], np.maximum(pre, 0), 0)
    latents, decoded = sae.reconstruct(torch.from_numpy(rows))
    np.testing.assert_allclose(latents.dense().numpy(), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(decoded.numpy(), expected @ weights["W_dec"] + weights["b_dec"], rtol=1e-5, atol=1e-4)
    assert 0 < (expected > 0).mean() < 0.5


def test_the_first_scope_gives_the_latents_of_its_paper(tmp_path: Path) -> None:
    folder = first(tmp_path)
    for path in (folder, folder / "params.npz"):
        found, _, name = read_checkpoint(path)
        assert name == "gemma-scope" and found.lossy == () and found.facts["layer"] == 12
        assert_agrees(found.sae)


def test_the_second_scope_says_where_it_belongs(tmp_path: Path) -> None:
    found, _, name = read_checkpoint(second(tmp_path, {}))
    assert name == "gemma-scope" and found.sae.site.hookpoint == "model.layers.10:out"
    assert found.facts["model_name"] == "google/gemma-3-1b-pt"
    assert_agrees(found.sae)


def test_a_missing_threshold_is_named_and_not_taken_for_zero(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.npz: threshold is missing"):
        read_checkpoint(first(tmp_path, threshold=None))


@pytest.mark.parametrize(
    ("config", "place", "more"),
    [
        ({"type": "transcoder"}, "all", {}),
        ({"affine_connection": True}, "all", {}),
        ({"hf_hook_point_out": "model.layers.11.output"}, "all", {}),
        ({}, "transcoder_all", {}),
        ({}, "all", {"affine_skip_connection": torch.eye(D)}),
    ],
)
def test_what_is_no_autoencoder_is_refused(config: Any, place: str, more: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a transcoder of Gemma Scope"):
        read_checkpoint(second(tmp_path, config, place, **more))


def test_another_architecture_and_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="architecture 'topk'; Gemma Scope has jump_relu"):
        read_checkpoint(second(tmp_path, {"architecture": "topk"}))
    with pytest.raises(UserError, match="cannot be read as an npz of arrays"):
        read_checkpoint(first(tmp_path, b_dec=np.array([{}], dtype=object)))


def test_one_of_ours_goes_there_and_back(tmp_path: Path) -> None:
    ours = Sae(torch.randn(N, D), torch.randn(N), torch.randn(N, D), torch.randn(D), JumpRelu(torch.rand(N)))
    export_checkpoint(ImportedSae(ours, "steerwright"), tmp_path / "out", "gemma-scope")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["params.npz"]
    rows = torch.randn(32, D)
    there, back = ours.reconstruct(rows), read_checkpoint(tmp_path / "out")[0].sae.reconstruct(rows)
    torch.testing.assert_close(back[0].dense(), there[0].dense(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back[1], there[1], rtol=1e-5, atol=1e-5)
    topk = Sae(torch.eye(4), torch.zeros(4), torch.eye(4), torch.zeros(4), TopK(1))
    with pytest.raises(UserError, match="Gemma Scope has JumpReLU"):
        export_checkpoint(ImportedSae(topk, "steerwright"), tmp_path / "no", "gemma-scope")
