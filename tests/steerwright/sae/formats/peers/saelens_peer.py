"""Autoencoders made, saved and used by sae-lens 6.54.12; see sample.run for the arguments.

With --golden, ROWS tests/data/sae/rows.npy and MADE tests/data/sae/saelens: the files that are there.
"""

import dataclasses
import json
import tempfile
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.registry import get_sae_class, get_sae_training_class
from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening
from safetensors.torch import save_file
from sample import D, K, N, Weights, filled, run
from torch import Tensor


def use(folder: Path, rows: Tensor, dtype: str = "float32") -> tuple[Tensor, Tensor]:
    return both(SAE.load_from_disk(folder, dtype=dtype), rows)


def both(sae, rows: Tensor) -> tuple[Tensor, Tensor]:
    latents = sae.encode(rows)
    return latents, sae.decode(latents)


def tensors(architecture: str, weights: Weights) -> dict[str, Tensor]:
    found = {"W_enc": weights.encoder.T, "W_dec": weights.decoder, "b_dec": weights.decoder_bias}
    if architecture == "gated":
        return found | {"b_gate": weights.gate_bias, "b_mag": weights.mag_bias, "r_mag": weights.r_mag}
    found["b_enc"] = weights.encoder_bias
    return found | ({"threshold": weights.threshold} if architecture == "jumprelu" else {})


def inference(architecture: str, weights: Weights, dtype: str = "float32", **settings):
    def make(folder: Path, rows: Tensor) -> tuple[Tensor, Tensor]:
        sae_class, config_class = get_sae_class(architecture)
        sae = filled(
            sae_class(config_class(d_in=D, d_sae=N, dtype=dtype, **settings)), **tensors(architecture, weights)
        )
        sae.save_model(folder)
        # In bfloat16 the weights are, but not the arithmetic: that no two libraries do alike.
        return use(folder, rows)

    return make


def training(architecture: str, weights: Weights, scaler: ActivationScaler | None = None, threshold=0.0, **settings):
    """A training checkpoint; the reference is what the library makes of it when training ends."""

    def make(folder: Path, rows: Tensor) -> tuple[Tensor, Tensor]:
        sae_class, config_class = get_sae_training_class(architecture)
        sae = filled(sae_class(config_class(d_in=D, d_sae=N, **settings)), **tensors(architecture, weights))
        if hasattr(sae, "topk_threshold"):
            sae.topk_threshold.fill_(threshold)
        sae.save_model(folder)
        kept = dataclasses.replace(scaler) if scaler is not None else ActivationScaler()
        kept.save(str(folder / "activation_scaler.json"))
        if kept.scaling_factor is not None:
            sae.fold_activation_norm_scaling_factor(kept.scaling_factor)
        if kept.whitening is not None:
            white = kept.whitening
            sae.fold_activation_whitening(white.mean, white.matrix, white.inverse_matrix)
        with tempfile.TemporaryDirectory() as final:
            sae.save_inference_model(final)
            return use(Path(final), rows)

    return make


def legacy(weights: Weights, config: dict, more: dict[str, Tensor] | None = None):
    """As versions before 6 wrote it: all keys at the top level."""

    def make(folder: Path, rows: Tensor) -> tuple[Tensor, Tensor]:
        state = tensors(config.get("architecture", "standard"), weights) | (more or {})
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "sae_weights.safetensors")
        flat = {"d_in": D, "d_sae": N, "dtype": "torch.float32", "device": "cpu", "model_name": "gpt2-small", **config}
        (folder / "cfg.json").write_text(json.dumps(flat))
        return use(folder, rows)

    return make


def whitening() -> ActivationWhitening:
    generator = torch.Generator().manual_seed(99)
    matrix = torch.eye(D, dtype=torch.float64) + 0.2 * torch.randn(D, D, generator=generator, dtype=torch.float64)
    mean = 0.3 * torch.randn(D, generator=generator, dtype=torch.float64)
    return ActivationWhitening(mean, matrix.contiguous(), torch.linalg.inv(matrix).contiguous())


NORMS = {"k": K, "rescale_acts_by_decoder_norm": True}
SCALED = {"normalize_activations": "expected_average_only_in"}
CASES = {
    "standard": inference("standard", Weights(1)),
    "standard-no_b_dec": inference("standard", Weights(2), apply_b_dec_to_input=False),
    "topk": inference("topk", Weights(3), k=K),
    "topk-few": inference("topk", Weights(4, bias=-0.75), k=K),
    "topk-none": inference("topk", Weights(5, bias=-200), k=K),
    "topk-rescaled": inference("topk", Weights(6, norms=True), **NORMS),
    "topk-layer_norm": inference("topk", Weights(7), k=K, normalize_activations="layer_norm"),
    "topk-bf16": inference("topk", Weights(8), "bfloat16", k=K),
    "abstopk": inference("abstopk", Weights(9), k=K),
    "abstopk-rescaled": inference("abstopk", Weights(10, norms=True), **NORMS),
    "jumprelu": inference("jumprelu", Weights(11)),
    "jumprelu-constant_norm": inference("jumprelu", Weights(12), normalize_activations="constant_norm_rescale"),
    "gated": inference("gated", Weights(13)),
    "gated-no_b_dec": inference("gated", Weights(14), apply_b_dec_to_input=False),
    "train-standard-scaled": training("standard", Weights(15), ActivationScaler(0.37), **SCALED),
    "train-topk": training("topk", Weights(16, norms=True), k=K),
    "train-jumprelu": training("jumprelu", Weights(17)),
    "train-batchtopk": training("batchtopk", Weights(18, norms=True), k=2.5, threshold=0.4),
    "train-batchtopk-scaled": training(
        "batchtopk", Weights(19, norms=True), ActivationScaler(0.37), k=K, threshold=0.4, **SCALED
    ),
    "train-batchtopk-unscaled_norms": training(
        "batchtopk", Weights(20), k=K, threshold=0.4, rescale_acts_by_decoder_norm=False
    ),
    "train-matryoshka": training(
        "matryoshka_batchtopk", Weights(21, norms=True), k=K, threshold=0.4, matryoshka_widths=[16, N]
    ),
    "train-batchtopk-whitened": training(
        "batchtopk",
        Weights(22, norms=True),
        ActivationScaler(whitening=whitening()),
        k=K,
        threshold=0.5,
        normalize_activations="covariance_whitening",
    ),
    "train-gated-whitened": training(
        "gated",
        Weights(23),
        ActivationScaler(whitening=whitening()),
        apply_b_dec_to_input=False,
        normalize_activations="covariance_whitening",
    ),
    "legacy-standard": legacy(
        Weights(24),
        {"hook_point": "blocks.8.hook_resid_pre", "normalize_activations": False},
        {"scaling_factor": torch.ones(N)},
    ),
    "legacy-topk": legacy(
        Weights(25),
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "sae_lens_training_version": "5.2.1"},
    ),
    "legacy-gated": legacy(Weights(26), {"architecture": "gated", "apply_b_dec_to_input": True}),
    "legacy-jumprelu": legacy(
        Weights(27), {"architecture": "jumprelu", "sae_lens_version": "5.9.0", "apply_b_dec_to_input": False}
    ),
}

GOLDEN = {
    "standard-no_b_dec",
    "topk-rescaled",
    "topk-layer_norm",
    "topk-bf16",
    "abstopk",
    "jumprelu-constant_norm",
    "gated",
    "train-batchtopk-scaled",
    "train-batchtopk-whitened",
    "train-matryoshka",
    "legacy-topk",
    "legacy-jumprelu",
}

if __name__ == "__main__":
    run(CASES, GOLDEN, use)
