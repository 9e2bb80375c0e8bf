"""An autoencoder while it is trained: its weights, its optimiser, and one step of training.

Of a step's products only the encoder's is dense, 2 d n for a row; the decoder, and the gradients of both, run over the
selected latents alone, O(k d) for a row. Where ReLU or JumpReLU leave too many latents active for that to pay, the step
is dense. Nothing waits for the device, save every 16th step on CUDA, for the list of the dead.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from steerwright.sae.activations import Activation
from steerwright.sae.architectures import ARCHITECTURES, SaeConfig
from steerwright.sae.architectures.architecture import LearnedThreshold
from steerwright.sae.products import above, largest
from steerwright.sae.sae import NoNorm, Sae, ScaleBy
from steerwright.sae.site import Site
from steerwright.sae.training.gradients import StepOutcome
from steerwright.sae.training.losses import AuxK, Sparsity
from steerwright.sae.training.selection import PreActivations
from steerwright.sae.training.steps import Decoding, dense_step, sparse_step
from steerwright.sae.training.weights import AdamMoments, SaeWeights

PIECE = 1 << 26
"""Pre-activations made at once on a CPU, as numbers; on CUDA 16 times as many."""
SPARSE_BELOW = 1 / 32
"""Share of latents active below which a step over the active ones is faster than one over all."""
THRESHOLD_MEMORY = 0.99


class Trainer:
    """One autoencoder under training on rows of `width` numbers, on `device`; weights and moments are float32."""

    def __init__(self, config: SaeConfig, width: int, device: torch.device | str = "cpu") -> None:
        self.config, self.width, self.device = config, width, torch.device(device)
        self.architecture = ARCHITECTURES[config.architecture]
        size = config.latents

        def zeros(*shape: int) -> AdamMoments:
            return AdamMoments.of(torch.zeros(shape, device=self.device))

        self.weights = SaeWeights(
            encoder=zeros(size, width),
            encoder_bias=zeros(size),
            decoder=zeros(size, width),
            decoder_bias=zeros(width),
            threshold=zeros(size) if self.architecture.learns_threshold else None,
            rounded=torch.zeros(size, width, dtype=torch.bfloat16, device=self.device)
            if config.bf16_encoder and multiplies_bfloat16(self.device)
            else None,
        )
        self.scale = 1.0
        self.steps = 0
        self.rows_seen = 0
        self.dead = DeadLatents(size, config.dead_after_rows, self.device)
        self._decoding = Decoding(
            self.architecture.channels(config),
            torch.tensor(config.group_ends, device=self.device),
            config.active or 0,
        )
        self._count = torch.zeros((), device=self.device)
        self._least = torch.zeros(2, device=self.device)
        """Running mean of the smallest value selected, times its weight, and the weight."""

    def initialise(self, rows: Tensor) -> None:
        """Starts again from `rows` [rows, d]: at least 32,768 that mix prompts, steps and places, where there are."""
        self.scale = initialised(self.config, rows.to(self.device), self.weights)
        for moments in self.weights.named().values():
            moments.mean.zero_()
            moments.square.zero_()
        self.steps = self.rows_seen = 0
        self._count.zero_()
        self._least.zero_()
        self.dead = DeadLatents(self.config.latents, self.config.dead_after_rows, self.device)
        self._round()

    @torch.no_grad()
    def step(self, rows: Tensor, learning_rate: float) -> dict[str, Tensor]:
        """Learns from `rows` [rows, d] in their own units. Returns measures of the batch, 0-dimensional, on the device:
        loss, fvu, l0, dead (share), auxk, l1_penalty or l0_penalty; all before the weights moved."""
        centred = torch.sub(rows.to(self.device, torch.float32) * self.scale, self.weights.decoder_bias.parameter)
        outcome = self._outcome(centred)
        self.steps += 1
        self.rows_seen += len(rows)
        self._count += 1
        self.weights.step(
            outcome.gradients,
            outcome.decoder_bias,
            outcome.threshold,
            learning_rate=learning_rate,
            count=self._count,
        )
        self.dead.count(outcome.fired, len(rows), self.steps)
        found = torch.stack([outcome.least, torch.ones_like(outcome.least)])
        self._least = torch.where(
            outcome.least.isfinite(), torch.lerp(found, self._least, THRESHOLD_MEMORY), self._least
        )
        return outcome.measures | {"dead": self.dead.share}

    def state(self) -> dict[str, Tensor]:
        """All that training goes on from, bit by bit: load it into a trainer of the same config and width."""
        learned = {
            f"{name}.{part}": getattr(moments, part)
            for name, moments in self.weights.named().items()
            for part in ("parameter", "mean", "square")
        }
        return learned | {
            "scale": torch.tensor(self.scale, dtype=torch.float64),
            "steps": torch.tensor(self.steps),
            "rows_seen": torch.tensor(self.rows_seen),
            "least": self._least,
            "rows_since_fired": self.dead.rows_since_fired,
            "dead": self.dead.listed,
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state` gave."""
        for name, moments in self.weights.named().items():
            for part in ("parameter", "mean", "square"):
                getattr(moments, part).copy_(state[f"{name}.{part}"])
        self.scale = float(state["scale"])
        self.steps, self.rows_seen = int(state["steps"]), int(state["rows_seen"])
        self._count.fill_(self.steps)
        self._least = state["least"].to(self.device, copy=True)
        self.dead.rows_since_fired.copy_(state["rows_since_fired"])
        self.dead.listed = state["dead"].to(self.device, copy=True)
        self._round()

    def finish(self, site: Site | None = None) -> Sae:
        """The autoencoder as it is now, for rows in their own units, decoder rows of unit norm; it shares no memory."""
        decoder = self.weights.decoder.parameter.clone()
        for piece in decoder.split(4096):
            piece.copy_(functional.normalize(piece.double(), dim=1))
        return Sae(
            encoder=self.weights.encoder.parameter.clone(),
            encoder_bias=self.weights.encoder_bias.parameter.clone(),
            decoder=decoder,
            decoder_bias=self.weights.decoder_bias.parameter.clone(),
            activation=self._activation(),
            input_norm=ScaleBy(self.scale) if self.config.normalise else NoNorm(),
            site=site or Site(),
        )

    def _activation(self) -> Activation:
        learned = None if self.weights.threshold is None else self.weights.threshold.parameter
        return self.architecture.activation(self.config, learned, self._least[0] / self._least[1].clamp(min=1e-30))

    def _outcome(self, centred: Tensor) -> StepOutcome:
        config = self.config
        rows = centred.bfloat16() if self.weights.rounded is not None else centred
        piece_rows = max(1, PIECE * (16 if centred.is_cuda else 1) // config.latents)
        pre = PreActivations(len(rows), piece_rows, lambda first, last: self.weights.pre_activations(rows[first:last]))
        sparsity = self._sparsity()
        aux = AuxK(self.dead.listed, config.auxk_latents or max(1, self.width // 2), config.auxk)
        # A penalty may leave many latents active; a choice of k does not.
        if config.active is None and (centred.is_cuda or self._crowded(pre, sparsity)):
            return dense_step(self.weights, centred, pre, sparsity, aux)
        selection = self.architecture.select(config, pre, sparsity.floor)
        return sparse_step(self.weights, centred, selection, self._decoding, sparsity, aux)

    def _sparsity(self) -> Sparsity:
        grown = min(1.0, self.rows_seen / self.config.warm_up_rows) if self.config.warm_up_rows else 1.0
        names: dict[str | None, Literal["l1_penalty", "l0_penalty"]] = {"l1": "l1_penalty", "l0": "l0_penalty"}
        l1, l0 = self.config.penalties
        return Sparsity(
            name=names.get(self.architecture.penalty),
            threshold=None if self.weights.threshold is None else self.weights.threshold.parameter,
            bandwidth=self.config.bandwidth if isinstance(self.config, LearnedThreshold) else 1.0,
            l1=l1 * grown,
            l0=l0 * grown,
        )

    def _crowded(self, pre: PreActivations, sparsity: Sparsity) -> bool:
        """Whether a few rows, taken for all, have too many active latents for a sparse step to be the faster one."""
        piece = pre.make(0, min(64, pre.rows))
        return bool(len(above(piece, sparsity.floor)[0]) > SPARSE_BELOW * piece.numel())

    def _round(self) -> None:
        if self.weights.rounded is not None:
            self.weights.rounded.copy_(self.weights.encoder.parameter)


# Whether a device multiplies bfloat16 faster than float32.


def multiplies_bfloat16(device: torch.device) -> bool:
    """True on CUDA, and on processors with instructions for it (AVX-512 BF16 or AMX).

    Elsewhere a bfloat16 product is several times slower than a float32 one, and less exact: it is made in float32.
    """
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())


# Which latents have not fired for long.

LIST_EVERY = 16
"""Steps after which the dead are listed again. How many they are must be known on the host, so a list costs a
synchronisation; the counts themselves never do."""


class DeadLatents:
    """Counts, for each of `size` latents, the rows since it last fired (was above 0)."""

    def __init__(self, size: int, after_rows: int, device: torch.device) -> None:
        self.after_rows = after_rows
        self.rows_since_fired = torch.zeros(size, dtype=torch.int64, device=device)
        self.listed = torch.empty(0, dtype=torch.int64, device=device)
        """Indices of the dead, in order, as of the last listing."""

    @property
    def share(self) -> Tensor:
        """Dead latents as a share of all, 0-dimensional, as of now."""
        return (self.rows_since_fired >= self.after_rows).float().mean()

    def count(self, fired: Tensor, rows: int, step: int) -> None:
        """After step number `step` of `rows` rows, in which the latents where bool [n] `fired` is set were above 0."""
        self.rows_since_fired.add_(rows).masked_fill_(fired, 0)
        if step % LIST_EVERY == 0:
            self.listed = (self.rows_since_fired >= self.after_rows).nonzero().squeeze(1)


# The point with the least sum of distances to rows: a centre that a few huge rows do not pull away.

ROWS_AT_ONCE = 4096


def geometric_median(rows: Tensor, *, iterations: int = 100, tolerance: float = 1e-6) -> Tensor:
    """Geometric median [d] of `rows` [rows, d], by Weiszfeld's iteration from their mean; in the rows' dtype.

    Ends when a step is shorter than `tolerance` times the median's mean distance to the rows, or after `iterations`.
    Distances are held above a millionth of the mean distance, so that a guess upon a row does not divide by 0.
    """
    guess = rows.mean(0, dtype=torch.float64)
    for _ in range(iterations):
        total, weight = torch.zeros_like(guess), guess.new_zeros(())
        distances = torch.cat([_distances(piece, guess) for piece in rows.split(ROWS_AT_ONCE)])
        mean_distance = distances.mean()
        weights = 1 / distances.clamp(min=float(mean_distance) * 1e-6 or 1.0)
        for piece, piece_weights in zip(rows.split(ROWS_AT_ONCE), weights.split(ROWS_AT_ONCE), strict=True):
            total += (piece_weights.to(piece.dtype) @ piece).double()
            weight += piece_weights.sum()
        following = total / weight
        moved = torch.linalg.vector_norm(following - guess)
        guess = following
        if moved <= tolerance * mean_distance:
            break
    return guess.to(rows.dtype)


def _distances(rows: Tensor, point: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows - point.to(rows.dtype), dim=1).double()


# Where the training of an autoencoder starts from.

MEDIAN_ROWS = 1 << 15
"""Rows whose geometric median the decoder's bias starts from (fewer if fewer are given)."""
FITTED_ROWS = 1024


def initialised(config: SaeConfig, rows: Tensor, weights: SaeWeights) -> float:
    """Fills `weights` from `rows` [rows, d], a mixed sample: of many prompts, steps and places, not of a few pictures.

    Returns the rows' scale, which makes their mean norm sqrt(d); the weights are for scaled rows. The decoder's bias is
    their geometric median. Decoder rows are random unit directions, the same on every device for a seed; the encoder
    has the same directions (tied), and one length that fits the first reconstruction to the rows (arXiv:2406.04093,
    appendix A.1).
    """
    rows = rows.float()
    norm = float(torch.linalg.vector_norm(rows, dim=1).mean(dtype=torch.float64))
    width = rows.shape[1]
    scale = width**0.5 / norm if config.normalise and norm > 0 else 1.0
    sample = rows[:: max(1, len(rows) // MEDIAN_ROWS)][:MEDIAN_ROWS] * scale
    bias, decoder = weights.decoder_bias.parameter, weights.decoder.parameter
    bias.copy_(geometric_median(sample))
    generator = torch.Generator().manual_seed(config.seed)
    decoder.copy_(torch.randn(config.latents, width, generator=generator))
    decoder /= torch.linalg.vector_norm(decoder, dim=1, keepdim=True)
    fitted = sample[:: max(1, len(sample) // FITTED_ROWS)][:FITTED_ROWS] - bias
    torch.mul(decoder, _length(config, fitted, decoder), out=weights.encoder.parameter)
    weights.encoder_bias.parameter.zero_()
    if weights.threshold is not None and isinstance(config, LearnedThreshold):
        weights.threshold.parameter.fill_(config.threshold)
    return scale


def _length(config: SaeConfig, rows: Tensor, decoder: Tensor) -> float:
    """The a for which a times what the tied encoder's latents decode to is nearest to `rows`; 1 if that is not > 0."""
    latents = rows @ decoder.T
    if config.active is not None:
        values, indices = largest(latents, config.active)
        latents = latents.zero_().scatter_(1, indices, values)
    decoded = latents.relu_() @ decoder
    energy = float(decoded.square().sum())
    length = float((decoded * rows).sum()) / energy if energy > 0 else 1.0
    return length if length > 0 else 1.0
