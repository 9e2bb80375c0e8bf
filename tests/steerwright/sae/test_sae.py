"""Encoding and decoding, against the definitions written out densely."""

from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.sae.activations import AbsTopK, Activation, Gated, GroupMax, JumpRelu, Relu, TopK
from steerwright.sae.latents import SparseLatents
from steerwright.sae.sae import ConstantNorm, InputNorm, NoNorm, PerRow, Sae, ScaleBy, Standardise

WIDTH, SIZE, K = 12, 60, 5


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


THRESHOLD, GATE, MAGNITUDE, STRETCH = (random(SIZE, seed=seed) for seed in range(4))
THRESHOLD = THRESHOLD.abs()
MEAN, SPREAD = random(WIDTH, seed=4), random(WIDTH, seed=5).abs() + 0.5
DECODER = random(SIZE, WIDTH, seed=6)


def keep_largest(values: Tensor, by: Tensor) -> Tensor:
    return values * torch.zeros_like(values).scatter(1, by.topk(K, dim=1).indices, 1.0)


def densely(activation: Activation, pre: Tensor) -> Tensor:
    match activation:
        case Relu():
            return pre.relu()
        case TopK(by_decoder_norm=False):
            return keep_largest(pre, pre).relu()
        case TopK():
            return keep_largest(pre, pre * DECODER.norm(dim=1)).relu()
        case AbsTopK():
            return keep_largest(pre, pre.abs())
        case GroupMax():
            groups = pre.view(len(pre), K, SIZE // K)
            return torch.where(groups == groups.amax(2, keepdim=True), groups, 0.0).flatten(1).relu()
        case JumpRelu(threshold):
            return torch.where((pre > threshold) & (pre > 0), pre, 0.0)
        case Gated():
            return (pre + GATE > 0) * (STRETCH.exp() * pre + MAGNITUDE).relu()


ACTIVATIONS: dict[str, Activation] = {
    "relu": Relu(),
    "topk": TopK(K),
    "topk after": TopK(K, relu="after"),
    "topk by norm": TopK(K, by_decoder_norm=True),
    "abstopk": AbsTopK(K),
    "groupmax": GroupMax(K),
    "jumprelu": JumpRelu(THRESHOLD),
    "gated": Gated(GATE, MAGNITUDE, STRETCH),
}
NORMS: dict[str, tuple[InputNorm, Any, Any]] = {
    # name: norm, rows -> shift, rows -> scale
    "none": (NoNorm(), lambda x: 0.0, lambda x: 1.0),
    "scale": (ScaleBy(2.5), lambda x: 0.0, lambda x: 1 / 2.5),
    "per row": (PerRow(1e-5, 1), lambda x: x.mean(1, keepdim=True), lambda x: x.std(1, keepdim=True) + 1e-5),
    "constant": (ConstantNorm(), lambda x: 0.0, lambda x: x.norm(dim=1, keepdim=True) / WIDTH**0.5),
    "standard": (Standardise(MEAN, SPREAD), lambda x: MEAN, lambda x: SPREAD),
}


def autoencoder(activation: str = "topk", norm: str = "none", **more: Any) -> Sae:
    return Sae(
        encoder=random(SIZE, WIDTH, seed=7),
        encoder_bias=0.2 * random(SIZE, seed=8),
        decoder=DECODER,
        decoder_bias=random(WIDTH, seed=9),
        activation=ACTIVATIONS[activation],
        input_norm=NORMS[norm][0],
        **more,
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_latents_and_reconstruction_are_those_of_the_definition(name: str, norm: str) -> None:
    sae, rows = autoencoder(name, norm), 3 * random(33, WIDTH, seed=10) + 1
    shift, scale = NORMS[norm][1](rows), NORMS[norm][2](rows)
    encoded = (rows - shift) / scale
    dense = densely(sae.activation, (encoded - sae.decoder_bias) @ sae.encoder.T + sae.encoder_bias)
    latents, reconstruction = sae.reconstruct(rows)
    torch.testing.assert_close(latents.dense(), dense, rtol=1e-4, atol=1e-4)
    expected = (dense @ DECODER + sae.decoder_bias) * scale + shift
    torch.testing.assert_close(reconstruction, expected, rtol=1e-4, atol=1e-3)
    if norm in ("none", "scale", "standard"):
        assert torch.equal(sae.decode(latents), reconstruction)
    else:
        with pytest.raises(ValueError, match="use reconstruct"):
            sae.decode(latents)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_latents_are_listed_most_active_first_each_once_and_unused_places_last(name: str) -> None:
    sae = autoencoder(name)
    rows = 0.3 * random(50, WIDTH, seed=11) + sae.decoder_bias
    latents = sae.encode(rows)
    assert torch.equal(latents.used, latents.values != 0)
    sizes = latents.values.abs()
    assert (sizes.diff(dim=1) <= 0).all()
    assert (latents.used.sum(1) == (latents.dense() != 0).sum(1)).all()
    assert latents.indices[~latents.used].eq(-1).all()
    if name not in ("relu", "jumprelu", "gated"):
        assert latents.used.sum(1).max() <= K


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_rows_latents_do_not_depend_on_its_batch(name: str) -> None:
    sae, rows = autoencoder(name), random(40, WIDTH, seed=12)
    together = sae.encode(rows)
    alone = [sae.encode(rows[i : i + 1]) for i in range(40)]
    for i, each in enumerate(alone):
        used = int(each.used.sum())
        assert used == together.used[i].sum()
        assert torch.equal(each.indices[0, :used], together.indices[i, :used])
        torch.testing.assert_close(each.values[0, :used], together.values[i, :used], rtol=1e-5, atol=1e-6)
    permuted = sae.encode(rows.flip(0))
    assert torch.equal(permuted.indices.flip(0), together.indices)


def test_rows_with_fewer_than_k_positive_have_fewer_latents() -> None:
    sae = Sae(torch.eye(4), torch.zeros(4), torch.eye(4), torch.zeros(4), TopK(3))
    latents, reconstruction = sae.reconstruct(torch.tensor([[1.0, -1, 2, -2], [-1, -1, -1, -1], [1, 2, 3, 4]]))
    assert latents.indices.tolist() == [[2, 0, -1], [-1, -1, -1], [3, 2, 1]]
    assert latents.values.tolist() == [[2, 1, 0], [0, 0, 0], [4, 3, 2]]
    assert reconstruction.tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [0, 2, 3, 4]]


def test_no_rows_give_no_latents() -> None:
    latents, reconstruction = autoencoder("relu").reconstruct(torch.empty(0, WIDTH))
    assert len(latents) == 0
    assert reconstruction.shape == (0, WIDTH)


@pytest.mark.parametrize("norm", NORMS)
def test_delta_is_what_the_reconstruction_changes_by(norm: str) -> None:
    sae, rows = autoencoder("topk", norm), random(20, WIDTH, seed=13) + 2
    latents = sae.encode(rows)
    scale = NORMS[norm][2](rows)
    change = SparseLatents(latents.indices, latents.values * -0.5, SIZE)
    expected = (latents.dense() * -0.5) @ DECODER * scale
    torch.testing.assert_close(sae.delta(rows, change), expected, rtol=1e-4, atol=1e-4)


def test_an_empty_or_unused_change_moves_nothing() -> None:
    sae, rows = autoencoder("topk", "per row"), random(20, WIDTH, seed=14)
    for places in (0, 3):
        change = SparseLatents(torch.full((20, places), -1), torch.zeros(20, places), SIZE)
        assert torch.equal(rows + sae.delta(rows, change), rows)


def test_another_bias_is_taken_off_where_there_is_one() -> None:
    rows, bias = random(9, WIDTH, seed=15), random(WIDTH, seed=16)
    plain = autoencoder("relu")
    own = autoencoder("relu", input_bias=bias)
    torch.testing.assert_close(own.encode(rows).dense(), plain.encode(rows - bias + plain.decoder_bias).dense())
    none = autoencoder("relu", subtract_bias=False)
    torch.testing.assert_close(none.encode(rows).dense(), plain.encode(rows + plain.decoder_bias).dense())


def test_a_skip_connection_adds_its_part() -> None:
    rows, skip = random(9, WIDTH, seed=17), random(WIDTH, WIDTH, seed=18)
    plain, skipping = autoencoder(), autoencoder(skip=skip)
    torch.testing.assert_close(skipping.reconstruct(rows)[1], plain.reconstruct(rows)[1] + rows @ skip.T)
    with pytest.raises(ValueError, match="use reconstruct"):
        skipping.decode(skipping.encode(rows))


@pytest.mark.parametrize(
    ("rows", "weights", "wanted"),
    [
        (torch.float32, torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float16, torch.bfloat16, torch.float32),
    ],
)
def test_rows_are_encoded_in_the_wider_dtype(rows: torch.dtype, weights: torch.dtype, wanted: torch.dtype) -> None:
    sae = autoencoder().to(dtype=weights)
    given = random(8, WIDTH, seed=19).to(rows)
    latents, reconstruction = sae.reconstruct(given)
    assert latents.values.dtype == reconstruction.dtype == wanted
    assert sae.delta(given, latents).dtype == rows
    exact = autoencoder().reconstruct(given.float())[1]
    assert (reconstruction.float() - exact).norm() < 0.05 * exact.norm()


def test_moving_to_a_dtype_moves_weights_and_not_thresholds() -> None:
    moved = autoencoder("jumprelu").to(dtype=torch.bfloat16)
    assert moved.encoder.dtype == moved.decoder_bias.dtype == torch.bfloat16
    assert isinstance(moved.activation, JumpRelu)
    assert moved.activation.threshold.dtype == torch.float32


def test_pieces_of_many_rows_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, rows = autoencoder("relu"), random(50, WIDTH, seed=20)
    whole = sae.encode(rows)
    monkeypatch.setattr("steerwright.sae.sae.PRE_ACTIVATIONS", 7 * SIZE)
    pieces = sae.encode(rows)
    assert torch.equal(pieces.indices, whole.indices)
    torch.testing.assert_close(pieces.values, whole.values)
