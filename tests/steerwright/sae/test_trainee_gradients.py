"""Hand-written gradients against autograd of a plain dense implementation in float64, for each architecture.

After one step from zero moments, Adam's running mean is a tenth of the gradient: so the gradients that a step really
used are read from the state that it leaves.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.sae.architectures import SaeConfig
from steerwright.sae.training.config import sae_config
from steerwright.sae.training.trainer import Trainer

WIDTH, LATENTS, ROWS = 12, 96, 40
AUXK_LATENTS = 5
DEAD = [3, 17, 18, 40, 66, 67, 95]

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "topk": {"architecture": "topk", "k": 5},
    "multi_topk": {"architecture": "topk", "k": 5, "multi_topk": True},
    "batchtopk": {"architecture": "batchtopk", "k": 5},
    "matryoshka": {"architecture": "matryoshka", "k": 5, "groups": [0.125, 0.25, 0.625]},
    "relu": {"architecture": "relu", "l1": 0.2},
    "relu, few active": {"architecture": "relu", "l1": 0.2},
    "jumprelu": {"architecture": "jumprelu", "l0": 0.01, "bandwidth": 0.6},
    "jumprelu, few active": {"architecture": "jumprelu", "l0": 0.01, "bandwidth": 0.6},
}


class JumpReluWithWindow(torch.autograd.Function):
    """arXiv:2407.14435, equations 10 and 11: JumpReLU and the step function with a rectangle's derivative, for
    pre-activations above 0 (no threshold, which is at least 0, could make another a latent)."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: float, jump: bool) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.width, ctx.jump = width, jump
        return pre * (pre > threshold) if jump else (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        pre, threshold = ctx.saved_tensors
        window = (((pre - threshold) / ctx.width).abs() < 0.5) & (pre > 0)
        by_threshold = -(threshold if ctx.jump else 1.0) / ctx.width * window * gradient
        by_pre = (pre > threshold) * gradient if ctx.jump else torch.zeros_like(pre)
        return by_pre, by_threshold.sum(0), None, None


def reference_loss(config: SaeConfig, weights: dict[str, Tensor], x: Tensor, dead: list[int]) -> Tensor:
    """The loss as the papers write it, dense, on rows [rows, d] that are scaled already."""
    b = weights["decoder_bias"]
    pre = (x - b) @ weights["encoder"].T + weights["encoder_bias"]
    variance = (x - x.mean(0)).square().sum()
    k = config.active or 0

    def fvu(latents: Tensor) -> Tensor:
        return (latents @ weights["decoder"] + b - x).square().sum() / variance

    def top(values: Tensor, count: int) -> Tensor:
        kept = torch.zeros_like(values).scatter(-1, values.topk(count, -1).indices, 1.0)
        return values.relu() * kept

    penalty = torch.zeros((), dtype=x.dtype)
    match config.architecture:
        case "topk":
            z = top(pre, k)
            loss = fvu(z) + (fvu(top(pre, 4 * k)) / 8 if config.multi_topk else 0)
        case "batchtopk":
            z = top(pre.flatten(), k * len(x)).view_as(pre)
            loss = fvu(z)
        case "matryoshka":
            z = top(pre.flatten(), k * len(x)).view_as(pre)
            prefixes = [torch.arange(LATENTS) < end for end in (12, 36, 96)]
            loss = torch.stack([fvu(z * prefix) for prefix in prefixes]).mean()
        case "relu":
            z = pre.relu()
            loss, penalty = fvu(z), config.l1 * z.sum(1).mean() / WIDTH**0.5
        case "jumprelu":
            z = JumpReluWithWindow.apply(pre, weights["threshold"], config.bandwidth, True)
            l0 = JumpReluWithWindow.apply(pre, weights["threshold"], config.bandwidth, False).sum(1).mean()
            loss, penalty = fvu(z), config.l0 * l0
    if dead:
        residual = (x - (z @ weights["decoder"] + b)).detach()
        attempt = top(pre[:, dead], min(AUXK_LATENTS, len(dead))) @ weights["decoder"][dead]
        share = min(len(dead) / AUXK_LATENTS, 1)
        loss = (
            loss
            + config.auxk * share * (attempt - residual).square().sum() / (residual - residual.mean(0)).square().sum()
        )
    return loss + penalty


def begun(name: str, **more: Any) -> tuple[Trainer, Tensor, dict[str, Tensor]]:
    """A trainer in the middle of nowhere: random weights, some latents dead."""
    config = sae_config(latents=LATENTS, auxk_latents=AUXK_LATENTS, seed=1, **ARCHITECTURES[name], **more)
    generator = torch.Generator().manual_seed(5)
    rows = 3 * torch.randn(ROWS, WIDTH, generator=generator) + 1
    trainer = Trainer(config, WIDTH)
    trainer.initialise(rows)
    state = {key: value.clone() for key, value in trainer.state().items()}
    state["encoder.parameter"] += 0.1 * torch.randn(LATENTS, WIDTH, generator=generator)
    state["encoder_bias.parameter"] += 0.3 * torch.randn(LATENTS, generator=generator)
    if name.endswith("few active"):
        state["encoder_bias.parameter"] -= 2.5 * state["encoder.parameter"].norm(dim=1)
    if "threshold.parameter" in state:
        state["threshold.parameter"] += 0.3 * torch.rand(LATENTS, generator=generator)
    return trainer, rows, state


def gradients(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removesuffix(".mean"): value / 0.1 for key, value in state.items() if key.endswith(".mean")}


def expected_gradients(
    config: SaeConfig, state: dict[str, Tensor], rows: Tensor, dead: list[int]
) -> tuple[Tensor, dict[str, Tensor]]:
    names = [key for key in state if key.endswith(".parameter")]
    weights = {key.removesuffix(".parameter"): state[key].double().requires_grad_() for key in names}
    loss = reference_loss(config, weights, rows.double() * state["scale"], dead)
    loss.backward()
    found = {
        name: weight.grad if weight.grad is not None else torch.zeros_like(weight) for name, weight in weights.items()
    }
    d, g = weights["decoder"].detach(), found["decoder"]
    found["decoder"] = g - (g * d).sum(1, keepdim=True) / d.square().sum(1, keepdim=True) * d
    return loss.detach(), found


@pytest.mark.parametrize("dead", [[], DEAD[:3], DEAD], ids=["none dead", "fewer dead than AuxK takes", "more"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_autograds(name: str, dead: list[int]) -> None:
    trainer, rows, state = begun(name)
    state["dead"] = torch.tensor(dead, dtype=torch.int64)
    trainer.load(state)
    measures = trainer.step(rows, learning_rate=1e-3)
    loss, expected = expected_gradients(trainer.config, state, rows, dead)
    found = gradients(trainer.state())
    assert found.keys() == expected.keys()
    torch.testing.assert_close(measures["loss"].double(), loss, rtol=2e-5, atol=0)
    for key, value in expected.items():
        assert value.abs().max() > 0, key
        torch.testing.assert_close(found[key].double(), value, rtol=2e-4, atol=2e-5 * float(value.abs().max()), msg=key)


def test_the_two_ways_of_relu_are_both_tested() -> None:
    """The dense and the sparse step are chosen by how many latents are active: each must have had its turn above."""
    for name in ("relu", "jumprelu"):
        active = []
        for crowd in (name, f"{name}, few active"):
            trainer, rows, state = begun(crowd)
            trainer.load(state)
            active.append(float(trainer.step(rows, 1e-3)["l0"]) / LATENTS)
        assert active[0] > 1 / 32 > active[1] > 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_auxk_alone_reaches_the_encoder_and_its_bias_of_the_dead(name: str) -> None:
    """What sparsify 1.3.3 loses: AuxK's gradient by the encoder."""
    trainer, rows, state = begun(name)
    state["encoder_bias.parameter"][DEAD] = 1.0
    trainer.load(state)
    trainer.step(rows, 1e-3)
    without = gradients(trainer.state())
    state["dead"] = torch.tensor(DEAD)
    trainer.load(state)
    trainer.step(rows, 1e-3)
    added = {key: (value - without[key]) for key, value in gradients(trainer.state()).items()}
    for key in ("encoder", "encoder_bias", "decoder"):
        per_latent = added[key].abs().view(LATENTS, -1).sum(1)
        assert (per_latent[DEAD] > 0).all(), key
        alive = torch.ones(LATENTS, dtype=torch.bool)
        alive[DEAD] = False
        assert per_latent[alive].max() <= 1e-6 * per_latent[DEAD].max() + 1e-9, key


def test_multi_topk_reaches_latents_beyond_the_k_largest() -> None:
    trainer, rows, state = begun("multi_topk")
    plain, _, _ = begun("topk")
    for each in (trainer, plain):
        each.load(state)
        each.step(rows, 1e-3)
    reached, reached_by_k = (gradients(each.state())["encoder"].abs().sum(1) > 0 for each in (trainer, plain))
    assert reached.sum() > reached_by_k.sum() > 0


def test_a_perfect_reconstruction_gives_auxk_no_nan() -> None:
    """Residual 0: the share of nothing that the dead explain is 0 / 0."""
    config = sae_config(architecture="topk", k=1, latents=4, normalise=False)
    trainer = Trainer(config, 2)
    trainer.initialise(torch.randn(64, 2))
    state = trainer.state() | {
        "encoder.parameter": torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]),
        "decoder.parameter": torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]),
        "decoder_bias.parameter": torch.zeros(2),
        "encoder_bias.parameter": torch.zeros(4),
        "dead": torch.tensor([2]),
    }
    trainer.load(state)
    measures = trainer.step(torch.tensor([[2.0, 0], [0, 3], [1, 0], [0, 1]]), 1e-3)
    assert measures["fvu"] == 0
    assert measures["auxk"] == 0
    assert all(value.isfinite().all() for value in trainer.state().values())
