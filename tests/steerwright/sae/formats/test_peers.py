"""256 rows through steerwright and through the real libraries, both ways: their checkpoints here, and ours there."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.sae.activations import AbsTopK, Gated, GroupMax, JumpRelu, Relu, TopK
from steerwright.sae.formats.fold import ImportedSae
from steerwright.sae.formats.registry import export_checkpoint, read_checkpoint
from steerwright.sae.sae import ConstantNorm, PerRow, Sae, ScaleBy, Standardise

pytestmark = pytest.mark.slow

Agrees = Callable[[Sae, np.ndarray, Path], None]
LIBRARIES = ("dictionary_learning", "saelens", "sparsify")


@dataclass
class Peer:
    """Of one library: `made`, its checkpoints and references, and `given`, our exports and what it makes of them."""

    name: str
    rows: np.ndarray
    made: Path
    given: Path
    exported: dict[str, Sae] = field(default_factory=dict)


def written(library: str, sample: ModuleType) -> dict[str, tuple[Sae, dict[str, Any]]]:
    """Autoencoders of ours that `library` can hold, and what is known of their training."""

    # Which of equal values are chosen depends on whether negatives were cut off before; each library has its way.
    order: Any = "after" if library == "saelens" else "before"

    def sae(seed: int, activation: Any = None, facts: dict[str, Any] | None = None, **how: Any) -> Any:
        weights = sample.Weights(seed, bias=how.pop("bias", 0.0), norms=how.pop("norms", False))
        activation = activation(weights) if callable(activation) else activation or TopK(4, relu=order)
        found = Sae(
            weights.encoder,
            weights.encoder_bias,
            weights.decoder,
            weights.decoder_bias,
            activation,
            **how.pop("sae", {}),
        )
        if isinstance(activation, Gated):
            found = replace(found, encoder_bias=torch.zeros(64))
        if how.pop("bf16", False):
            found = found.to(dtype=torch.bfloat16)
        return found, facts or {}

    def jumprelu(weights: Any) -> JumpRelu:
        return JumpRelu(weights.threshold)

    def gated(weights: Any) -> Gated:
        return Gated(weights.gate_bias, weights.mag_bias, weights.r_mag)

    def batchtopk(_: Any) -> JumpRelu:
        return JumpRelu(torch.full((64,), 0.4))

    as_it_is, mean = {"subtract_bias": False}, torch.linspace(-1, 1, 16)
    standard = {"input_norm": Standardise(mean, torch.linspace(0.5, 2, 16))}
    common = {
        "topk": sae(1),
        "topk-few": sae(2, bias=-0.75),
        "topk-none": sae(3, bias=-200),
        "topk-bf16": sae(4, bf16=True),
        "topk-unsubtracted": sae(5, sae=as_it_is),
        "topk-scaled": sae(6, sae={"input_norm": ScaleBy(0.37)}),
        "topk-standardised": sae(7, sae=standard),
        "topk-input_bias": sae(8, sae={"input_bias": mean}),
    }
    if library == "sparsify":
        return common | {
            "groupmax": sae(9, GroupMax(4)),
            "skip": sae(10, sae={"skip": sample.Weights(10).skip}),
            "skip-scaled": sae(11, sae={"skip": sample.Weights(11).skip, "input_norm": ScaleBy(3.0)}),
            "skip-unsubtracted": sae(12, sae={"skip": sample.Weights(12).skip} | as_it_is),
        }
    common |= {
        "relu": sae(13, Relu()),
        "relu-norms": sae(14, Relu(), norms=True),
        "relu-unsubtracted": sae(15, Relu(), sae=as_it_is),
        "jumprelu": sae(16, jumprelu),
        "jumprelu-unsubtracted": sae(17, jumprelu, sae=as_it_is),
        "batchtopk": sae(18, batchtopk, {"architecture": "batchtopk", "k": 4}),
        "batchtopk-k_not_known": sae(19, batchtopk),
        "gated": sae(20, gated),
        "gated-unsubtracted": sae(21, gated, sae=as_it_is),
        "gated-standardised": sae(22, gated, sae=standard),
        "gated-standardised-unsubtracted": sae(23, gated, sae=standard | as_it_is),
    }
    if library == "dictionary_learning":
        return common
    return common | {
        "abstopk": sae(24, AbsTopK(4)),
        "topk-layer_norm": sae(25, sae={"input_norm": PerRow(1e-5, 1)}),
        "relu-constant_norm": sae(26, Relu(), sae={"input_norm": ConstantNorm()}),
        "jumprelu-bf16": sae(27, jumprelu, bf16=True),
    }


@pytest.fixture(scope="module", params=LIBRARIES)
def peer(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    sample: ModuleType,
    run_peer: Callable[..., None],
) -> Peer:
    folder = tmp_path_factory.mktemp(request.param)
    rows = sample.make_rows(256)
    np.save(folder / "rows.npy", rows)
    peer = Peer(request.param, rows, folder / "made", folder / "given")
    for name, (sae, facts) in written(peer.name, sample).items():
        export_checkpoint(ImportedSae(sae, "steerwright", facts=facts), peer.given / name, peer.name)
        peer.exported[name] = sae
    run_peer(peer.name, folder / "rows.npy", peer.made, "--use", peer.given)
    return peer


def test_what_the_library_saves_gives_the_same_here(peer: Peer, agrees: Agrees) -> None:
    references = sorted(peer.made.glob("*.npz"))
    assert len(references) >= 12
    for reference in references:
        folder = reference.with_suffix("")
        checkpoint = folder / "checkpoints" if (folder / "checkpoints").exists() else folder
        found, _, name = read_checkpoint(checkpoint)
        assert name == peer.name
        try:
            agrees(found.sae, peer.rows, reference)
        except AssertionError as error:
            raise AssertionError(f"{peer.name}, {reference.stem}: {error}") from error


def test_what_we_export_gives_the_same_there(peer: Peer, agrees: Agrees) -> None:
    for name, sae in peer.exported.items():
        try:
            agrees(sae, peer.rows, peer.given / f"{name}.npz")
        except AssertionError as error:
            raise AssertionError(f"{peer.name}, {name}: {error}") from error


def test_what_we_export_gives_the_same_when_it_comes_back(peer: Peer, agrees: Agrees) -> None:
    for name in peer.exported:
        found, _, format_name = read_checkpoint(peer.given / name)
        assert format_name == peer.name
        agrees(found.sae, peer.rows, peer.given / f"{name}.npz")


def test_the_sample_has_rows_with_fewer_than_k_latents_with_none_and_with_ties(peer: Peer) -> None:
    with np.load(peer.given / "topk-few.npz") as few, np.load(peer.given / "topk-none.npz") as none:
        active = (few["latents"] != 0).sum(1)
        assert set(active.tolist()) >= {0, 1, 2, 3, 4}
        assert not none["latents"].any()
    with np.load(peer.given / "topk.npz") as topk:
        twins = topk["latents"][:, 20:24]
        tied = (twins != 0).sum(1)
        # Twins that are cut off by k in the middle: which of them stay is the library's choice.
        assert {1, 2, 3} & set(tied.tolist())
        assert all(np.ptp(row[row != 0]) == 0 for row in twins if row.any())
