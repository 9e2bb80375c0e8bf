"""The table of measurements on held-out rows, by hand."""

import math

import pytest
import torch

from steerwright.activations.store.shuffle import RowBatch
from steerwright.sae.activations import Relu
from steerwright.sae.metrics import DENSITY_EDGES, quality_table
from steerwright.sae.sae import Sae


def half_blind() -> Sae:
    """Latent 0 and 1 give the first two places back where they are positive; latent 2 never fires."""
    weights = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    return Sae(
        encoder=weights, encoder_bias=torch.tensor([0.0, 0, -100]), decoder=weights, decoder_bias=torch.zeros(3),
        activation=Relu(),
    )  # fmt: skip


ROWS = torch.tensor([[2.0, 0, 0], [0, 0, 2], [0, 2, 0], [2, 0, 0]])
STEPS = torch.tensor([0, 0, 1, 1])


def test_measurements_are_those_worked_out_by_hand() -> None:
    table = quality_table({"mid": (half_blind(), [RowBatch(ROWS[:1], STEPS[:1]), RowBatch(ROWS[1:], STEPS[1:])])})
    found = {(m, s): v for m, s, low, v in table.select("measure", "step", "low", "value").iter_rows() if low is None}
    # Variances of the columns 2002, 0020, 0200 are 1, 0.75, 0.75, and the third is not explained: 0.75 / 2.5. At step 0
    # they are 1, 0, 1, and 1 / 2 is not explained; at step 1 all is.
    assert found == {
        ("fvu", None): pytest.approx(0.3), ("l0", None): pytest.approx(0.75),
        ("dead_share", None): pytest.approx(1 / 3),
        ("fvu", 0): pytest.approx(0.5), ("fvu", 1): pytest.approx(0.0, abs=1e-6),
    }  # fmt: skip


def test_the_histogram_counts_every_latent_that_fires_once() -> None:
    table = quality_table({"mid": (half_blind(), [RowBatch(ROWS, STEPS)])}).filter(measure="density")
    counts = {low: value for low, value in table.select("low", "value").iter_rows()}
    assert len(counts) == len(DENSITY_EDGES) - 1 == 28
    # Latent 0 fires on 2 of 4 rows, 10^-0.30; latent 1 on 1 of 4, 10^-0.60.
    assert {low: value for low, value in counts.items() if value} == {-0.5: 1, -0.75: 1}
    assert math.isclose(table["high"].max(), 0.0)  # type: ignore[arg-type]


def test_a_latent_that_always_fires_is_in_the_last_bin() -> None:
    always = RowBatch(torch.ones(3, 3), torch.zeros(3, dtype=torch.int64))
    table = quality_table({"mid": (half_blind(), [always])}).filter(measure="density")
    assert table.sort("low")["value"].to_list()[-1] == 2
