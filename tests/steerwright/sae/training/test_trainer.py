from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.sae.activations import JumpRelu, TopK
from steerwright.sae.sae import NoNorm, ScaleBy
from steerwright.sae.site import Site
from steerwright.sae.training.config import sae_config
from steerwright.sae.training.trainer import Trainer

WIDTH, LATENTS, BATCH = 16, 128, 64
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "topk": {"architecture": "topk", "k": 4},
    "multi_topk": {"architecture": "topk", "k": 4, "multi_topk": True},
    "batchtopk": {"architecture": "batchtopk", "k": 4},
    "matryoshka": {"architecture": "matryoshka", "k": 4},
    "relu": {"architecture": "relu", "l1": 0.2},
    "jumprelu": {"architecture": "jumprelu", "l0": 0.01},
}


def batch(seed: int, rows: int = BATCH) -> Tensor:
    return 5 * torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed)) + 2


def trained(name: str, steps: int, **more: Any) -> Trainer:
    """Latents are dead after 100 rows, so that AuxK takes part from the 16th step on."""
    config = sae_config(latents=LATENTS, dead_after_rows=100, auxk_latents=6, **(ARCHITECTURES[name] | more))
    trainer = Trainer(config, WIDTH)
    trainer.initialise(batch(999, 500))
    for step in range(steps):
        trainer.step(batch(step), 1e-3)
    return trainer


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        value.numpy().tobytes() == other[name].numpy().tobytes() for name, value in one.items()
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_two_runs_give_the_same_bytes(name: str) -> None:
    assert same(trained(name, 20).state(), trained(name, 20).state())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_going_on_from_a_state_gives_the_same_bytes_as_never_stopping(name: str) -> None:
    whole = trained(name, 40)
    stopped = {key: value.clone() for key, value in trained(name, 19).state().items()}
    resumed = Trainer(whole.config, WIDTH)
    resumed.load(stopped)
    for step in range(19, 40):
        measures = resumed.step(batch(step), 1e-3)
    assert same(resumed.state(), whole.state())
    assert measures["auxk"] > 0 or name in ("relu", "jumprelu")


def test_another_seed_starts_elsewhere() -> None:
    assert not same(trained("topk", 1).state(), trained("topk", 1, seed=1).state())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_decoder_rows_have_unit_norm_in_training_and_when_finished(name: str) -> None:
    trainer = trained(name, 25)
    for decoder in (trainer.weights.decoder.parameter, trainer.finish().decoder):
        torch.testing.assert_close(decoder.double().norm(dim=1), torch.ones(LATENTS).double(), rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", ["topk", "batchtopk"])
def test_untouched_latents_move_by_their_momentum_as_in_plain_adam(name: str) -> None:
    """The optimiser against torch.optim.Adam, given the gradients that the step's moments reveal."""
    trainer = trained(name, 0)
    weights = trainer.weights
    mirror = {key: moments.parameter.clone().requires_grad_() for key, moments in weights.named().items()}
    adam = torch.optim.Adam(mirror.values(), lr=1e-3, eps=6.25e-10)
    for step in range(6):
        before = {key: moments.mean.clone() for key, moments in weights.named().items()}
        trainer.step(batch(step), 1e-3)
        for key, moments in weights.named().items():
            mirror[key].grad = (moments.mean - 0.9 * before[key]) / 0.1
        adam.step()
        with torch.no_grad():
            mirror["decoder"] /= mirror["decoder"].norm(dim=1, keepdim=True)
    for key, moments in weights.named().items():
        torch.testing.assert_close(moments.parameter, mirror[key].detach(), rtol=1e-3, atol=2e-5)


def test_a_finished_topk_reports_the_l0_that_it_has() -> None:
    trainer = trained("topk", 30)
    rows = batch(5000, 300)
    latents = trainer.finish().encode(rows)
    assert latents.used.sum(1).max() <= 4
    state = {key: value.clone() for key, value in trainer.state().items()}
    measured = trainer.step(rows, 0.0)["l0"]
    assert float(measured) == latents.used.sum() / 300
    assert isinstance(trainer.finish().activation, TopK)
    assert torch.equal(trainer.state()["encoder.parameter"], state["encoder.parameter"])  # a rate of 0 moves nothing


@pytest.mark.parametrize("name", ["batchtopk", "matryoshka"])
def test_batchtopk_ends_with_one_threshold_that_keeps_about_k(name: str) -> None:
    trainer = trained(name, 150)
    sae = trainer.finish()
    assert isinstance(sae.activation, JumpRelu)
    assert len(sae.activation.threshold.unique()) == 1
    assert sae.activation.threshold.shape == (LATENTS,)
    l0 = sae.encode(batch(6000, 2000)).used.sum(1).float().mean()
    assert l0 == pytest.approx(4, rel=0.1)


def test_the_threshold_is_the_mean_of_the_smallest_values_selected() -> None:
    """With the weights held (rate 0) each batch's least is known: the 256th largest of its pre-activations."""
    trainer = trained("batchtopk", 0)
    sae = trainer.finish()
    leasts = []
    for step in range(3):
        trainer.step(batch(step), 0.0)
        pre = (batch(step) * trainer.scale - sae.decoder_bias) @ sae.encoder.T + sae.encoder_bias
        leasts.append(float(pre.flatten().topk(4 * BATCH).values[-1]))
    weights = [0.99**2, 0.99, 1]
    expected = sum(weight * least for weight, least in zip(weights, leasts, strict=True)) / sum(weights)
    finished = trainer.finish().activation
    assert isinstance(finished, JumpRelu)
    assert float(finished.threshold[0]) == pytest.approx(expected, rel=1e-5)


def test_rows_are_scaled_to_a_mean_norm_of_the_root_of_the_width_and_the_scale_is_kept() -> None:
    rows = batch(999, 500)
    trainer = trained("topk", 3)
    assert (rows * trainer.scale).norm(dim=1).mean() == pytest.approx(WIDTH**0.5, rel=1e-5)
    norm = trainer.finish().input_norm
    assert isinstance(norm, ScaleBy)
    assert norm.factor == trainer.scale
    plain = trained("topk", 3, normalise=False)
    assert plain.scale == 1
    assert isinstance(plain.finish().input_norm, NoNorm)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_learning_in_other_units_learns_the_same(name: str) -> None:
    """Rows a thousand times as large: the scale takes it away, and the reconstruction gives it back."""
    small = trained(name, 10)
    large = Trainer(small.config, WIDTH)
    large.initialise(1024 * batch(999, 500))
    for step in range(10):
        large.step(1024 * batch(step), 1e-3)
    rows = batch(7000)
    torch.testing.assert_close(
        large.finish().reconstruct(1024 * rows)[1] / 1024, small.finish().reconstruct(rows)[1], rtol=1e-3, atol=1e-2
    )


def test_the_encoder_starts_tied_and_the_first_reconstruction_is_no_overshoot() -> None:
    for name in ARCHITECTURES:
        trainer = trained(name, 0)
        encoder, decoder = trainer.weights.encoder.parameter, trainer.weights.decoder.parameter
        lengths = encoder.norm(dim=1)
        torch.testing.assert_close(encoder / lengths.unsqueeze(1), decoder, rtol=0, atol=1e-6)
        assert lengths.std() < 1e-5 * lengths.mean()
        assert float(trainer.step(batch(999, 500), 0.0)["fvu"]) < 1


def test_a_step_counts_rows_and_finds_the_dead_by_rows() -> None:
    trainer = trained("topk", 5)
    assert trainer.rows_seen == 5 * BATCH
    assert int(trainer.dead.rows_since_fired.max()) <= 5 * BATCH
    share = (trainer.dead.rows_since_fired >= 100).float().mean()
    assert trainer.step(batch(5), 0.0)["dead"].dim() == 0
    assert 0 < share < 1


def test_l1_and_l0_warm_up_from_nothing() -> None:
    for name, key in (("relu", "l1_penalty"), ("jumprelu", "l0_penalty")):
        trainer = trained(name, 0, warm_up_rows=4 * BATCH)
        # Rate 0: the same rows cost the same, but for the penalty's weight.
        costs = [float(trainer.step(batch(0), 0.0)[key]) for _ in range(6)]
        assert costs[0] == 0
        assert costs[1] == pytest.approx(costs[4] / 4, rel=1e-5)
        assert costs[4] == costs[5] > 0


def test_rows_of_half_precision_are_learned_in_float32() -> None:
    trainer = trained("topk", 0)
    measures = trainer.step(batch(0).bfloat16(), 1e-3)
    assert measures["fvu"].dtype == torch.float32
    assert trainer.finish().encoder.dtype == torch.float32


def test_equal_rows_have_no_variance_and_break_nothing() -> None:
    trainer = trained("batchtopk", 2)
    trainer.step(torch.ones(BATCH, WIDTH), 1e-3)
    assert all(value.isfinite().all() for value in trainer.state().values() if value.is_floating_point())


def test_a_bfloat16_encoder_learns_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the processor has no instructions for it, so that the path is tested everywhere."""
    monkeypatch.setattr("steerwright.sae.training.trainer.multiplies_bfloat16", lambda device: True)
    rounded = trained("topk", 60, bf16_encoder=True)
    exact = trained("topk", 60)
    assert rounded.weights.rounded is not None
    assert torch.equal(rounded.weights.rounded, rounded.weights.encoder.parameter.bfloat16())
    assert all(moments.parameter.dtype == torch.float32 for moments in rounded.weights.named().values())
    fvus = [float(each.step(batch(8000, 500), 0.0)["fvu"]) for each in (rounded, exact)]
    assert fvus[0] == pytest.approx(fvus[1], rel=0.02)


def test_the_site_is_kept() -> None:
    site = Site(hookpoint="unet.mid_block.attentions.0:out")
    assert trained("topk", 1).finish(site).site == site
