"""What of SAELens no golden file shows: what is refused, what is lost, and old names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from steerwright.errors import UserError
from steerwright.sae.activations import JumpRelu, TopK
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.formats.registry import export_checkpoint, read_checkpoint
from steerwright.sae.sae import Sae

N, D = 8, 4
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """save(config, **tensors): a checkpoint with these tensors beside the usual ones; None leaves one out."""

    def write(config: dict[str, Any], **tensors: torch.Tensor | None) -> Path:
        generator = torch.Generator().manual_seed(0)
        usual: dict[str, torch.Tensor | None] = {
            "W_enc": torch.randn(D, N, generator=generator),
            "W_dec": torch.randn(N, D, generator=generator),
            "b_enc": torch.zeros(N),
            "b_dec": torch.ones(D),
        }
        found = {name: value for name, value in (usual | tensors).items() if value is not None}
        save_file(found, tmp_path / "sae_weights.safetensors")
        metadata = {"sae_lens_version": "6.54.12", "hook_name": "blocks.3", "model_name": "gpt2"}
        base = {"architecture": "standard", "d_in": D, "d_sae": N, "metadata": metadata}
        (tmp_path / "cfg.json").write_text(json.dumps(base | config))
        return tmp_path

    return write


@pytest.mark.parametrize(
    "architecture",
    [
        "transcoder",
        "skip_transcoder",
        "jumprelu_transcoder",
        "jumprelu_skip_transcoder",
        "matching_pursuit",
        "temporal",
    ],
)
def test_what_is_no_autoencoder_is_refused_with_the_reason(architecture: str, save: Save) -> None:
    with pytest.raises(UserError, match=f"a {architecture} of SAELens is not imported: it (predicts|finds|looks)"):
        read_checkpoint(save({"architecture": architecture}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "crosscoder"}, "architecture 'crosscoder'; known are"),
        ({"normalize_activations": "whatever"}, "normalize_activations 'whatever'"),
        ({"architecture": "topk"}, "k is None"),
        ({"architecture": "topk", "k": 2.5}, "k is 2.5; topk needs a whole number"),
        ({"architecture": "topk", "k": 9}, "k is 9"),
        ({"architecture": "jumprelu"}, "no tensor threshold"),
        ({"d_sae": 16}, r"W_enc is \[4, 8\], but the others make it \[4, 16\]"),
        ({"d_in": "four"}, "d_in"),
        ({"metadata": {}, "activation_fn_str": "tanh-relu"}, "activation_fn 'tanh-relu'"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {}}, r"without k: .* activation_fn_kwargs\.k nor k"),
        ({"metadata": {}, "activation_fn_str": "topk"}, "a TopK without k"),
        ({"metadata": {}, "activation_fn": "topk", "activation_fn_kwargs": {"k": None}}, "a TopK without k"),
        ({"metadata": {}, "architecture": "topk", "activation_fn_kwargs": {}}, "a TopK without k"),
        (
            {"metadata": {}, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}, "k": 4},
            "activation_fn_kwargs.k is 3 but k is 4",
        ),
        ({"metadata": {}, "activation_fn_str": "topk", "architecture": "gated"}, "'gated' does not go with"),
        ({"metadata": {}, "activation_fn_str": "relu", "architecture": "topk", "k": 3}, "'topk' does not go with"),
        ({"reshape_activations": "hook_q"}, "reshape_activations 'hook_q'; known are hook_z, none"),
    ],
)
def test_a_configuration_that_cannot_be_is_a_users_error(config: dict[str, Any], message: str, save: Save) -> None:
    with pytest.raises(UserError, match=message):
        read_checkpoint(save(config))


@pytest.mark.parametrize("where", [{"activation_fn_kwargs": {"k": 4}}, {"activation_fn_kwargs": {}, "k": 4}, {"k": 4}])
@pytest.mark.parametrize("version", [{"metadata": {}}, {}])
def test_an_old_topk_has_its_k_in_either_place(where: dict[str, Any], version: dict[str, Any], save: Save) -> None:
    found, _, _ = read_checkpoint(save({"activation_fn_str": "topk", **where, **version}))
    assert isinstance(found.sae.activation, TopK) and found.sae.activation.k == 4


@pytest.mark.parametrize("name", ["threshold", "log_threshold", "topk_threshold", "b_gate", "r_mag"])
def test_tensors_of_an_activation_that_the_configuration_does_not_name_are_refused(name: str, save: Save) -> None:
    """SAELens before 6 takes a missing architecture for the standard one; these weights are not."""
    folder = save({"metadata": {}}, **{name: torch.ones(N)})
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({k: v for k, v in config.items() if k != "architecture"}))
    with pytest.raises(UserError, match=f"holds {name}, but its architecture, 'standard', does not use it"):
        read_checkpoint(folder)


def test_weights_without_their_configuration_are_refused(save: Save) -> None:
    folder = save({})
    (folder / "cfg.json").unlink()
    with pytest.raises(UserError, match=r"no cfg\.json beside it"):
        read_checkpoint(folder / "sae_weights.safetensors")


def test_a_weight_that_is_not_finite_is_refused(save: Save) -> None:
    with pytest.raises(UserError, match="b_dec holds what is not a finite number"):
        read_checkpoint(save({}, b_dec=torch.tensor([0.0, torch.nan, 0, 0])))


@pytest.mark.parametrize("norm", ["expected_average_only_in", "covariance_whitening"])
def test_an_estimate_that_was_not_kept_is_a_loss(norm: str, save: Save) -> None:
    found, _, _ = read_checkpoint(save({"normalize_activations": norm}))
    assert len(found.lossy) == 1 and norm in found.lossy[0]


def test_with_the_factor_beside_it_nothing_is_lost_and_it_is_folded(save: Save) -> None:
    folder = save({"normalize_activations": "expected_average_only_in"})
    plain = read_checkpoint(folder)[0].sae
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 4.0, "has_whitening": False}))
    found, checkpoint, _ = read_checkpoint(folder)
    assert found.lossy == ()
    rows = torch.randn(10, D, generator=torch.Generator().manual_seed(1))
    # The same latents as of rows times 4, and what that reconstructs, divided by 4; 4 is exact in binary.
    latents, decoded = plain.reconstruct(4 * rows)
    folded, back = found.sae.reconstruct(rows)
    assert torch.equal(latents.indices, folded.indices)
    torch.testing.assert_close(folded.values, latents.values)
    torch.testing.assert_close(back, decoded / 4)
    assert {path.name for path in checkpoint.files} == {"sae_weights.safetensors", "cfg.json", "activation_scaler.json"}


def test_a_tensor_that_the_architecture_does_not_have_is_a_loss(save: Save) -> None:
    found, _, _ = read_checkpoint(save({}, b_extra=torch.zeros(3)))
    assert found.lossy == ("b_extra, which this format does not have, is left out",)


def test_log_thresholds_of_old_training_checkpoints_are_exponentiated(save: Save) -> None:
    found, _, _ = read_checkpoint(save({"architecture": "jumprelu"}, log_threshold=torch.full((N,), -1.0)))
    assert isinstance(found.sae.activation, JumpRelu)
    torch.testing.assert_close(found.sae.activation.threshold, torch.full((N,), 0.36787944))


def test_a_factor_learned_after_training_multiplies_what_is_decoded(save: Save) -> None:
    factor = torch.linspace(0.5, 2, N)
    old = {"metadata": {}, "finetuning_scaling_factor": True}
    plain = read_checkpoint(save(old))[0].sae
    scaled = read_checkpoint(save(old, scaling_factor=factor))[0].sae
    torch.testing.assert_close(scaled.decoder, plain.decoder * factor[:, None])
    assert torch.equal(scaled.encoder, plain.encoder)
    with pytest.raises(UserError, match="Which of them is right"):
        read_checkpoint(save({"metadata": {}}, scaling_factor=factor))


def test_facts_and_sparsity_are_kept(save: Save) -> None:
    folder = save(
        {"metadata": {"sae_lens_version": "6.1.0", "hook_name": "blocks.3", "training_architecture": "batchtopk"}}
    )
    save_file({"sparsity": torch.arange(8.0)}, folder / "sparsity.safetensors")
    found, _, _ = read_checkpoint(folder)
    assert (found.library, found.version) == ("sae-lens", "6.1.0")
    assert found.facts == {"architecture": "batchtopk", "hook_name": "blocks.3"}
    assert torch.equal(found.extra["sparsity"], torch.arange(8.0))


def test_rows_of_all_heads_are_noted(save: Save) -> None:
    found, _, _ = read_checkpoint(save({"reshape_activations": "hook_z"}))
    assert "heads" in found.notes[0] and not found.lossy


def test_a_skip_connection_is_not_written(tmp_path: Path) -> None:
    weights = torch.eye(4)
    sae = Sae(weights, torch.zeros(4), weights, torch.zeros(4), TopK(2), skip=weights)
    with pytest.raises(UserError, match="cannot be written as saelens: it has a skip connection"):
        export_checkpoint(ImportedSae(sae, "steerwright"), tmp_path / "out", "saelens")
    assert list(tmp_path.iterdir()) == []
