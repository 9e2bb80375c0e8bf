"""Images: their seeds, their batches, and edits around a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from steerwright.errors import UserError
from steerwright.models.generate import Batch, generate, generate_batches

PROMPTS = ["a red house", "b", "the sea at night", "a very long prompt of many words " * 3, ""]
SEEDS = [3, 1, 4, 1, 5]


@pytest.fixture(scope="module")
def alone(sd21: Any) -> np.ndarray:
    return np.concatenate([generate(sd21, [prompt], [seed]) for prompt, seed in zip(PROMPTS, SEEDS, strict=True)])


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_an_image_does_not_depend_on_its_batch(sd21: Any, alone: np.ndarray, batch_size: int) -> None:
    together = generate(sd21, PROMPTS, SEEDS, batch_size=batch_size)
    assert np.abs(together.astype(int) - alone).max() <= 1


def test_an_image_does_not_depend_on_its_place(sd21: Any, alone: np.ndarray) -> None:
    order = [4, 2, 0, 3, 1]
    shuffled = generate(sd21, [PROMPTS[i] for i in order], [SEEDS[i] for i in order], batch_size=5)
    assert np.abs(shuffled.astype(int) - alone[order]).max() <= 1


def test_images_are_uint8_of_the_models_size_and_differ_by_seed(sd21: Any) -> None:
    images = generate(sd21, ["a", "a", "a"], [0, 1, 0])
    assert images.shape == (3, 64, 64, 3)
    assert images.dtype == np.uint8
    assert np.abs(images[0].astype(int) - images[1]).max() > 10
    assert np.abs(images[0].astype(int) - images[2]).max() <= 1


def test_the_same_call_gives_the_same_bits(sd21: Any) -> None:
    assert np.array_equal(generate(sd21, PROMPTS, SEEDS), generate(sd21, PROMPTS, SEEDS))


def test_the_global_random_state_is_neither_used_nor_moved(sd21: Any) -> None:
    import torch

    torch.manual_seed(1)
    first, state = generate(sd21, ["a"], [0]), torch.random.get_rng_state()
    torch.manual_seed(2)
    second = generate(sd21, ["a"], [0])
    assert np.array_equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_pipeline_gives_the_same_picture_when_called_by_hand(sd21: Any) -> None:
    import torch

    generator = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        image = sd21.pipeline("a red house", num_inference_steps=3, guidance_scale=4.0, generator=generator).images[0]
    assert np.abs(np.asarray(image).astype(int) - generate(sd21, ["a red house"], [3])[0]).max() <= 1


def test_edits_are_entered_once_per_batch_and_left_before_the_next(sd21: Any) -> None:
    log: list[Any] = []

    @contextmanager
    def edits(batch: Batch) -> Iterator[None]:
        log.append(batch)
        yield
        log.append("left")

    generate(sd21, PROMPTS[:3], SEEDS[:3], batch_size=2, steps=1, edits=edits)
    assert log == [Batch(0, 2, ("a red house", "b"), (3, 1)), "left", Batch(2, 3, ("the sea at night",), (4,)), "left"]


def test_batches_come_one_by_one(sd21: Any) -> None:
    batches = generate_batches(sd21, PROMPTS[:3], SEEDS[:3], batch_size=2, steps=1)
    batch, images = next(batches)
    assert (batch.stop, images.shape) == (2, (2, 64, 64, 3))


def test_no_prompts_make_no_images(sd21: Any) -> None:
    assert generate(sd21, [], []).shape == (0, 64, 64, 3)


def test_one_seed_for_each_prompt(sd21: Any) -> None:
    with pytest.raises(ValueError, match="2 prompts but 1 seeds"):
        generate(sd21, ["a", "b"], [0])


def test_an_image_that_is_not_finite_is_named_by_prompt_and_seed(sd21: Any) -> None:
    handle = sd21.pipeline.vae.decoder.register_forward_hook(lambda _, __, out: out * float("nan"))
    try:
        with pytest.raises(UserError, match=r"'a' with seed 7 is not finite"):
            generate(sd21, ["a"], [7], steps=1)
    finally:
        handle.remove()
