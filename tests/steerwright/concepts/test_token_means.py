"""Token means put together from rows in any order, in small blocks of images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from steerwright.concepts.token_means import StepEntries, TokenSums
from steerwright.sae.latents import SparseLatents

IMAGES, STEPS, TOKENS, SIZE = 5, (2, 9), 3, 7


def sample() -> tuple[torch.Tensor, ...]:
    """Rows [30, 2 places] of five images, two steps and three tokens; some places unused, some values negative."""
    generator = torch.Generator().manual_seed(0)
    image, step, _ = torch.cartesian_prod(torch.arange(IMAGES), torch.tensor(STEPS), torch.arange(TOKENS)).T
    indices = torch.stack([torch.randperm(SIZE, generator=generator)[:2] for _ in image])
    values = torch.randn(len(image), 2, generator=generator)
    unused = torch.rand(len(image), generator=generator) < 0.3
    indices[unused, 1], values[unused, 1] = -1, 0
    return image, step, indices, values


def test_means_do_not_depend_on_the_order_or_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, step, indices, values = sample()
    dense = SparseLatents(indices, values, SIZE).dense().double().reshape(IMAGES, len(STEPS), TOKENS, SIZE).mean(2)
    expected = torch.cat([dense, dense.mean(1, keepdim=True)], 1)
    for at_once in (1, 10**6):
        monkeypatch.setattr("steerwright.concepts.token_means.BLOCK", at_once)
        for seed in range(3):
            order = torch.randperm(len(image), generator=torch.Generator().manual_seed(seed))
            sums = TokenSums(SIZE, tmp_path)
            for part in order.split(4):
                sums.add(image[part], step[part], SparseLatents(indices[part], values[part], SIZE))
            assert sums.steps == STEPS
            entries = StepEntries(3, tmp_path)
            blocks = list(sums.blocks())
            assert len(blocks) == (IMAGES if at_once == 1 else 1)
            assert np.concatenate([block.images for block in blocks]).tolist() == list(range(IMAGES))
            found = torch.cat([block.means for block in blocks])
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
            for block in blocks:
                assert block.present.all()
                entries.add(block)
            for slot in range(3):
                at = entries.at(slot)
                again = torch.zeros(IMAGES, SIZE)
                again[at.image.tolist(), at.latent.tolist()] = torch.from_numpy(np.array(at.mean))
                torch.testing.assert_close(again.double(), expected[:, slot], rtol=1e-6, atol=1e-6)
                assert (at.mean != 0).all()
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_an_image_lacks_is_not_a_step_of_zeros(tmp_path: Path) -> None:
    sums = TokenSums(2, tmp_path)
    one = SparseLatents(torch.tensor([[1]]), torch.tensor([[4.0]]), 2)
    none = SparseLatents(torch.tensor([[-1]]), torch.tensor([[0.0]]), 2)
    sums.add(torch.tensor([0]), torch.tensor([0]), one)
    sums.add(torch.tensor([0]), torch.tensor([1]), none)
    sums.add(torch.tensor([1]), torch.tensor([0]), one)
    (block,) = sums.blocks()
    # Image 0 is silent at step 1, so its mean over steps is 2; image 1 has no step 1, so its mean is that of step 0.
    assert block.present.tolist() == [[True, True, True], [True, False, True]]
    assert block.means[:, 2, 1].tolist() == [2.0, 4.0]


def test_nothing_seen_is_no_block(tmp_path: Path) -> None:
    assert list(TokenSums(2, tmp_path).blocks()) == [] and TokenSums(2, tmp_path).steps == ()
