"""OpenAI's format and sdxl-unbox, against the formulas of their code, written here again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.sae.activations import AbsTopK, Relu, TopK
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.formats.registry import export_checkpoint, read_checkpoint
from steerwright.sae.sae import NoNorm, PerRow, Sae

N, D, K = 24, 6, 4


def state(**more: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(D, N, generator=generator), dim=0)
    return {
        "pre_bias": torch.randn(D, generator=generator),
        "encoder.weight": torch.randn(N, D, generator=generator),
        "latent_bias": torch.randn(N, generator=generator) - 1,
        # Column-major, as its kernels want it.
        "decoder.weight": decoder.T.contiguous().T,
        "stats_last_nonzero": torch.arange(N),
        **more,
    }


def reference(weights: dict[str, Tensor], rows: Tensor, k: int | None, normed: bool) -> tuple[Tensor, Tensor]:
    """Latents [rows, n], dense, and reconstruction: LN, topk and then relu, as openai/sparse_autoencoder/model.py."""
    if normed:
        mu = rows.mean(dim=-1, keepdim=True)
        rows = rows - mu
        std = rows.std(dim=-1, keepdim=True)
        rows = rows / (std + 1e-5)
    pre = torch.nn.functional.linear(rows - weights["pre_bias"], weights["encoder.weight"], weights["latent_bias"])
    if k is None:
        latents = pre.relu()
    else:
        found = pre.topk(k, dim=-1)
        latents = torch.zeros_like(pre).scatter_(-1, found.indices, found.values.relu())
    out = latents @ weights["decoder.weight"].T + weights["pre_bias"]
    return latents, out * std + mu if normed else out


def assert_agrees(sae: Sae, weights: dict[str, Tensor], k: int | None, normed: bool) -> None:
    rows = torch.randn(128, D, generator=torch.Generator().manual_seed(1))
    expected, reconstruction = reference(weights, rows, k, normed)
    latents, decoded = sae.reconstruct(rows)
    assert torch.equal(latents.dense() != 0, expected != 0)
    torch.testing.assert_close(latents.dense(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(decoded, reconstruction, rtol=1e-6, atol=2e-6)
    # Some rows have fewer positive pre-activations than k.
    assert k is None or int((expected != 0).sum(1).min()) < k


@pytest.fixture
def unbox(tmp_path: Path) -> Path:
    folder = tmp_path / "unet.mid_block.attentions.0_k4_hidden24_auxk256_bs4096_lr0.0001" / "final"
    folder.mkdir(parents=True)
    torch.save({"state_dict": state()}, folder / "state_dict.pth")
    config = {"n_dirs_local": N, "d_model": D, "k": K, "auxk": 256, "dead_steps_threshold": 2441}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(torch.arange(float(N)), folder / "mean.pt")
    torch.save(torch.ones(N), folder / "std.pt")
    return folder


def test_sdxl_unbox_gives_the_latents_of_its_own_code(unbox: Path) -> None:
    found, _, name = read_checkpoint(unbox)
    assert name == "sdxl-unbox" and found.lossy == () and "update" in found.notes[0]
    assert found.sae.decoder.is_contiguous() and isinstance(found.sae.input_norm, NoNorm)
    assert_agrees(found.sae, state(), K, normed=False)
    # The statistics of its user interface are kept, and are no norm of rows.
    assert torch.equal(found.extra["mean"], torch.arange(float(N)))
    assert torch.equal(found.extra["stats_last_nonzero"], torch.arange(N))


def test_sdxl_unbox_there_and_back_is_the_same(unbox: Path, tmp_path: Path) -> None:
    found, _, _ = read_checkpoint(unbox)
    export_checkpoint(found, tmp_path / "out", "sdxl-unbox")
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == json.loads((unbox / "config.json").read_text())
    again = torch.load(tmp_path / "out" / "state_dict.pth", weights_only=True)["state_dict"]
    before = state()
    assert again.keys() == before.keys() and all(torch.equal(again[name], before[name]) for name in before)
    assert again["decoder.weight"].stride() == before["decoder.weight"].stride() == (1, D)
    assert torch.equal(torch.load(tmp_path / "out" / "mean.pt", weights_only=True), torch.arange(float(N)))


def test_without_its_configuration_sdxl_unbox_has_no_k(unbox: Path) -> None:
    (unbox / "config.json").unlink()
    with pytest.raises(UserError, match=r"state_dict\.pth has no config\.json beside it"):
        read_checkpoint(unbox)


def test_a_configuration_of_other_sizes_is_refused(unbox: Path) -> None:
    (unbox / "config.json").write_text(json.dumps({"n_dirs_local": 5120, "d_model": 1280, "k": 10}))
    with pytest.raises(UserError, match=r"has 24 latents of width 6, but config\.json says 5120 of 1280"):
        read_checkpoint(unbox)


@pytest.mark.parametrize("chooses", [False, True])
def test_openai_gives_the_latents_of_its_own_code(chooses: bool, tmp_path: Path) -> None:
    named: dict[str, Any] = {"activation": "ReLU", "activation_state_dict": {}}
    if chooses:
        # "TopK" is also what says that rows are normed.
        named = {"activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "ReLU"}}
    statistics = {"latents_activation_frequency": torch.ones(N), "latents_mean_square": torch.zeros(N)}
    torch.save(state(**named, **statistics), tmp_path / "layer_8.pt")
    found, _, name = read_checkpoint(tmp_path / "layer_8.pt")
    assert name == "openai" and found.lossy == ()
    assert isinstance(found.sae.input_norm, PerRow if chooses else NoNorm)
    assert_agrees(found.sae, state(), K if chooses else None, normed=chooses)
    export_checkpoint(found, tmp_path / "out", "openai")
    again = torch.load(tmp_path / "out" / "autoencoder.pt", weights_only=True)
    before = torch.load(tmp_path / "layer_8.pt", weights_only=True)
    assert again.keys() == before.keys()
    assert all(torch.equal(again[key], before[key]) for key, value in before.items() if isinstance(value, Tensor))
    assert (again["activation"], again["activation_state_dict"]) == (
        named["activation"],
        named["activation_state_dict"],
    )


def test_a_tied_decoder_is_the_encoder(tmp_path: Path) -> None:
    tied = state(activation="ReLU")
    tied["decoder.linear.weight"] = tied["encoder.weight"]
    del tied["decoder.weight"]
    torch.save(tied, tmp_path / "tied.pt")
    found, _, _ = read_checkpoint(tmp_path / "tied.pt")
    assert torch.equal(found.sae.decoder, found.sae.encoder)


def test_openais_first_files_have_relu_and_do_not_say_so(tmp_path: Path) -> None:
    torch.save(state(latents_activation_frequency=torch.ones(N), latents_mean_square=torch.zeros(N)), tmp_path / "0.pt")
    found, _, name = read_checkpoint(tmp_path / "0.pt")
    assert name == "openai" and isinstance(found.sae.activation, Relu)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"activation": "TopK"}, "TopK without k, which is not guessed"),
        ({"activation": "TopK", "activation_state_dict": {"k": 4, "postact_fn": "Identity"}}, "TopK with Identity"),
        ({"activation": "GELU"}, "activation GELU"),
        ({"activation": "TopK", "activation_state_dict": {"k": 4}}, "TopK without activation_state_dict.postact_fn"),
        # As sdxl-unbox's, which are TopK, look when they are saved flat.
        ({}, "its activation is missing"),
        ({"activation": "TopK", "activation_state_dict": {"k": 25}}, "k = 25 of 24 latents"),
    ],
)
def test_an_activation_that_is_not_known_is_refused(named: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save(state(**named), tmp_path / "a.pt")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("openai", {"activation": TopK(2)}),
        ("openai", {"activation": Relu(), "input_norm": PerRow(1e-5, 1)}),
        ("openai", {"activation": AbsTopK(2)}),
        ("sdxl-unbox", {"activation": Relu()}),
        ("sdxl-unbox", {"activation": TopK(2), "input_norm": PerRow(1e-5, 1)}),
        ("sdxl-unbox", {"activation": TopK(2), "skip": torch.eye(4)}),
    ],
)
def test_what_it_does_not_have_is_not_written(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    weights = torch.eye(4)
    sae = Sae(weights, torch.zeros(4), weights, torch.zeros(4), **how)
    with pytest.raises(UserError, match=f"cannot be written as {name}"):
        export_checkpoint(ImportedSae(sae, "steerwright"), tmp_path / "out", name)
    assert list(tmp_path.iterdir()) == []
