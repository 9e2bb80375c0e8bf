"""Folding changes numbers, never what an autoencoder does: the same latents and reconstructions, to rounding."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from steerwright.sae.activations import AbsTopK, Gated, JumpRelu, Relu, TopK
from steerwright.sae.formats.files import Unfit
from steerwright.sae.formats.fold import (
    add_subtraction,
    fold_affine,
    fold_decoder_norms,
    fold_input_norm,
    fold_scale,
    fold_subtraction,
    one_dtype,
    unit_decoder,
)
from steerwright.sae.sae import NoNorm, Sae, ScaleBy, Standardise

N, D = 16, 5
GATED = Gated(torch.linspace(-0.5, 0.5, N), torch.linspace(0.5, -0.5, N), torch.linspace(-1, 1, N))
ACTIVATIONS = [Relu(), TopK(3), AbsTopK(3), JumpRelu(torch.linspace(0, 1, N)), GATED]
NORMS = [ScaleBy(0.37), Standardise(torch.linspace(-1, 1, D), torch.linspace(0.5, 2, D))]
SUBTRACTIONS: list[dict[str, Any]] = [{}, {"subtract_bias": False}, {"input_bias": torch.linspace(1, -1, D)}]


def sae(activation: Any, **how: Any) -> Sae:
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = torch.randn(N, D, generator=generator), torch.randn(N, D, generator=generator)
    bias = torch.zeros(N) if isinstance(activation, Gated) else torch.randn(N, generator=generator)
    return Sae(encoder, bias, decoder, torch.randn(D, generator=generator), activation, **how)


def rows() -> torch.Tensor:
    return torch.randn(200, D, generator=torch.Generator().manual_seed(1))


def assert_same(folded: Sae, original: Sae) -> None:
    (latents, decoded), (expected, reconstruction) = folded.reconstruct(rows()), original.reconstruct(rows())
    torch.testing.assert_close(latents.dense(), expected.dense(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoded, reconstruction, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("norm", NORMS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("how", SUBTRACTIONS, ids=["decoder_bias", "nothing", "input_bias"])
def test_a_norm_of_all_rows_goes_into_the_weights(activation: Any, norm: Any, how: dict[str, Any]) -> None:
    original = sae(activation, input_norm=norm, **how)
    folded = fold_input_norm(original)
    assert isinstance(folded.input_norm, NoNorm) and folded.subtract_bias == original.subtract_bias
    assert_same(folded, original)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("how", SUBTRACTIONS, ids=["decoder_bias", "nothing", "input_bias"])
def test_what_is_subtracted_goes_into_the_biases_and_comes_back(activation: Any, how: dict[str, Any]) -> None:
    original = sae(activation, **how)
    folded, added = fold_subtraction(original), add_subtraction(original)
    assert not folded.subtract_bias and folded.input_bias is None
    assert added.subtract_bias and added.input_bias is None
    assert_same(folded, original)
    assert_same(added, original)


def test_a_skip_connection_goes_with_a_scale_and_not_with_a_norm_by_dimension() -> None:
    original = sae(
        TopK(3), skip=torch.randn(D, D, generator=torch.Generator().manual_seed(2)), input_norm=ScaleBy(0.37)
    )
    assert_same(fold_input_norm(original), original)
    with pytest.raises(Unfit, match="skip connection"):
        fold_input_norm(replace(original, input_norm=NORMS[1]))


def test_rows_through_a_matrix_go_into_the_weights() -> None:
    """Of z = (x - mean) @ M, decoded to y @ M^-1 + mean, as whitening does."""
    generator = torch.Generator().manual_seed(3)
    matrix = torch.eye(D, dtype=torch.float64) + 0.3 * torch.randn(D, D, generator=generator, dtype=torch.float64)
    mean, inverse = torch.linspace(-1, 1, D), torch.linalg.inv(matrix)
    for how in SUBTRACTIONS:
        original = sae(Relu(), **how)
        latents, decoded = original.reconstruct(((rows() - mean).double() @ matrix).float())
        found, again = fold_affine(original, mean, matrix, inverse).reconstruct(rows())
        torch.testing.assert_close(found.dense(), latents.dense(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(again, (decoded.double() @ inverse).float() + mean, rtol=1e-4, atol=1e-5)


def test_decoder_norms_go_into_the_latents() -> None:
    original = sae(AbsTopK(N))
    folded = fold_decoder_norms(original)
    assert unit_decoder(folded) and not unit_decoder(original)
    norms = original.decoder.norm(dim=1)
    latents, decoded = folded.reconstruct(rows())
    expected, reconstruction = original.reconstruct(rows())
    torch.testing.assert_close(latents.dense(), expected.dense() * norms, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoded, reconstruction, rtol=1e-4, atol=1e-5)
    # A latent without a direction stays without one, and finite.
    dead = replace(original, decoder=original.decoder.index_fill(0, torch.tensor([2]), 0))
    assert torch.isfinite(fold_decoder_norms(dead).decoder).all()


def test_folding_narrow_weights_does_not_round_them_again() -> None:
    narrow = sae(TopK(3), input_norm=ScaleBy(0.37)).to(dtype=torch.bfloat16)
    folded = fold_scale(replace(narrow, input_norm=NoNorm()), 0.37)
    assert folded.encoder.dtype == torch.float32
    assert torch.equal(folded.encoder, narrow.encoder.float() * 0.37)


def test_one_dtype_is_the_widest() -> None:
    mixed = replace(sae(TopK(3)).to(dtype=torch.bfloat16), decoder_bias=torch.zeros(D))
    assert {one_dtype(mixed).encoder.dtype, one_dtype(mixed).decoder_bias.dtype} == {torch.float32}
    thresholds = replace(sae(JumpRelu(torch.rand(N))).to(dtype=torch.bfloat16))
    assert one_dtype(thresholds).encoder.dtype == torch.float32
    assert one_dtype(sae(TopK(3)).to(dtype=torch.bfloat16)).encoder.dtype == torch.bfloat16
