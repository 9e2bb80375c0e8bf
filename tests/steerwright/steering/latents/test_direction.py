"""Steering by one latent: both ways move a token as far as they say, and zero installs nothing."""

import pytest
import torch

from steerwright.errors import UserError
from steerwright.sae.activations import Relu
from steerwright.sae.sae import ConstantNorm, InputNorm, NoNorm, Sae, ScaleBy, Standardise
from steerwright.sae.site import Site
from steerwright.steering.algebra import edited
from steerwright.steering.latents.direction import MODES, latent_steering, row_direction

WIDTH = 8
PLACE = "transformer.transformer_blocks.0.ff:out"


def autoencoder(norm: InputNorm | None = None, place: str | None = PLACE) -> Sae:
    """Latent f reads and writes coordinate f."""
    eye = torch.eye(WIDTH)
    return Sae(
        encoder=eye, encoder_bias=torch.zeros(WIDTH), decoder=eye, decoder_bias=torch.zeros(WIDTH), activation=Relu(),
        input_norm=norm or NoNorm(), site=Site(hookpoint=place),
    )  # fmt: skip


def steered(sae: Sae, acts: torch.Tensor, *rest: object) -> torch.Tensor:
    (edit,) = latent_steering(sae, *rest)  # type: ignore[arg-type]
    return edited(edit, acts)


@pytest.mark.parametrize("mode", MODES)
def test_strength_is_in_units_of_the_sites_mean_norm(mode: str) -> None:
    acts = torch.rand(2, 3, WIDTH)
    change = steered(autoencoder(), acts, 5, mode, 0.5, 12.0) - acts
    torch.testing.assert_close(change[..., 5], torch.full((2, 3), 6.0))
    assert not change[..., :5].any() and not change[..., 6:].any()


def test_adding_goes_below_zero_and_the_latents_own_value_does_not() -> None:
    acts = torch.full((1, 2, WIDTH), 1.0)
    acts[0, 1, 5] = 0.25
    added = steered(autoencoder(), acts, 5, "add", -0.1, 5.0)
    torch.testing.assert_close(added[0, :, 5], torch.tensor([0.5, -0.25]))
    lowered = steered(autoencoder(), acts, 5, "encode_edit_decode", -0.1, 5.0)
    torch.testing.assert_close(lowered[0, :, 5], torch.tensor([0.5, 0.0]))


def test_what_the_autoencoder_does_not_reconstruct_stays() -> None:
    acts = -torch.rand(1, 4, WIDTH)  # no latent is active, so the whole of it is error
    raised = steered(autoencoder(), acts, 2, "encode_edit_decode", 1.0, 3.0)
    torch.testing.assert_close(raised[..., 2], acts[..., 2] + 3.0)
    assert torch.equal(raised[..., 3:], acts[..., 3:])


@pytest.mark.parametrize("mode", MODES)
def test_zero_is_no_edit_at_all(mode: str) -> None:
    assert latent_steering(autoencoder(), 1, mode, 0.0, 4.0) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (NoNorm(), 1.0),
        (ScaleBy(4.0), 0.25),
        (Standardise(torch.ones(WIDTH), torch.full((WIDTH,), 3.0)), 3.0),
        (ConstantNorm(), 10 / WIDTH**0.5),  # a row of length 10 is divided by that, and multiplied again
    ],
)  # fmt: skip
def test_the_direction_is_in_the_rows_own_units(norm: InputNorm, expected: float) -> None:
    moved = row_direction(autoencoder(norm), 3, 10.0)
    torch.testing.assert_close(moved, expected * torch.eye(WIDTH)[3])


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="add, encode_edit_decode"):
        latent_steering(autoencoder(), 1, "multiply", 1.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="latents 0 to 7; there is no 8"):
        latent_steering(autoencoder(), 8, "add", 1.0, 1.0)
    with pytest.raises(UserError, match="import it with --hookpoint"):
        latent_steering(autoencoder(place=None), 1, "add", 1.0, 1.0)
