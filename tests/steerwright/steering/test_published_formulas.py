"""The published algorithm (CASteer, steering-hogs), written here once more from its formulas, gives the same numbers.

Nothing of the library is used on this side: the forward of every attn2 is replaced, its calls are counted (so many to a
UNet forward), vectors are numpy arrays by step, place and block, and images are made one at a time.
"""

import pickle
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.activations.attention import attention_moments
from steerwright.models.attention_blocks import attention_blocks
from steerwright.models.generate import Batch, generate, run_pipeline
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.schedule import timesteps
from steerwright.models.spec import ModelSpec
from steerwright.prompts.suite import ContrastPair
from steerwright.steering.apply import steered_batches
from steerwright.steering.attention import Action, AttentionRecipe, attention_edits
from steerwright.vectors.fit import vectors_from_moments
from steerwright.vectors.formats.pickles import as_layout, imported_vectors, read_layout, to_pickle
from steerwright.vectors.steering_vectors import SteeringVectors

FOLDER = Path(__file__).parents[3] / "models" / "seasons-sd"
STEPS, GUIDANCE = 4, 7.5
SCENES = ("a house by a lake", "a red car in a street")
SEEDS = (0, 5)
PROMPT, SEED = "a tree in a meadow in winter", 42
PLACES = ("down", "mid", "up")

Layout = dict[int, dict[str, list[Any]]]


def published_blocks(pipeline: Any) -> list[tuple[str, Any]]:
    unet = pipeline.unet
    found = []
    for place, part in zip(PLACES, (unet.down_blocks, unet.mid_block, unet.up_blocks), strict=True):
        found += [(place, m.attn2) for m in part.modules() if type(m).__name__ == "BasicTransformerBlock"]
    return found


@contextmanager
def patched(pipeline: Any, change: Callable[[int, str, int, torch.Tensor], torch.Tensor | None]) -> Iterator[None]:
    """Hand the output of each attn2 to `change` with step, place and block, all three by counting calls."""
    blocks = published_blocks(pipeline)
    order = [(place, sum(p == place for p, _ in blocks[:i])) for i, (place, _) in enumerate(blocks)]
    calls = 0

    def wrap(attention: Any) -> None:
        forward = attention.forward

        def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
            nonlocal calls
            out = forward(*args, **kwargs)
            step, at = divmod(calls, len(blocks))
            calls += 1
            changed = change(step, *order[at], out)
            return out if changed is None else changed

        attention.forward = counted

    for _, attention in blocks:
        wrap(attention)
    try:
        yield
    finally:
        for _, attention in blocks:
            del attention.forward


def published_image(pipeline: Any, prompt: str, seed: int, kind: str) -> Any:
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.inference_mode():
        return pipeline(
            prompt, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generator, output_type=kind
        ).images


def published_vectors(pipeline: Any, pairs: Sequence[tuple[str, str]], seeds: Sequence[int]) -> Layout:
    def mean(prompts: Sequence[str]) -> dict[tuple[int, str, int], Any]:
        runs: dict[tuple[int, str, int], list[Any]] = defaultdict(list)

        def keep(step: int, place: str, number: int, out: torch.Tensor) -> None:
            cond = out[len(out) // 2 :]
            runs[step, place, number].append(cond.mean(0).mean(0).numpy())

        for prompt in prompts:
            for seed in seeds:
                with patched(pipeline, keep):
                    published_image(pipeline, prompt, seed, "latent")
        return {key: np.mean(found, axis=0) for key, found in runs.items()}

    positive, negative = mean([pair[0] for pair in pairs]), mean([pair[1] for pair in pairs])
    vectors: Layout = {}
    for step, place, number in positive:
        vector = positive[step, place, number] - negative[step, place, number]
        found = vectors.setdefault(step, defaultdict(list))[place]
        assert len(found) == number
        found.append((vector / np.linalg.norm(vector)).astype(np.float32))
    return vectors


def published_edit(vectors: Layout, action: str, strength: float, places: Sequence[str]) -> Callable[..., Any]:
    def change(step: int, place: str, number: int, x: torch.Tensor) -> torch.Tensor | None:
        if place not in places:
            return None
        v = torch.from_numpy(vectors[min(step, len(vectors) - 1)][place][number])
        amount = torch.ones(1) if action == "add" else -torch.relu((x * v).sum(-1, keepdim=True))
        moved = x + strength * amount * v
        return moved * x.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True)

    return change


@dataclass(frozen=True)
class Both:
    """A model, and the vectors for winter that both sides find on it, each for itself."""

    model: LoadedModel
    published: Layout
    ours: SteeringVectors


@pytest.fixture(scope="module", params=["DDIM", "PNDM"])
def both(request: pytest.FixtureRequest) -> Both:
    """With the embedded model's own scheduler, and with one that runs the UNet once more than there are steps."""
    spec = ModelSpec(name="seasons-sd", source=str(FOLDER), steps=20, guidance=4.0)
    model = load_model(spec, device=torch.device("cpu"))
    if request.param == "PNDM":
        from diffusers import PNDMScheduler

        model.pipeline.scheduler = PNDMScheduler.from_config(model.pipeline.scheduler.config, skip_prk_steps=True)
    pairs = [(f"{scene} in winter", f"{scene} in summer") for scene in SCENES]
    moments = attention_moments(
        model,
        [ContrastPair(i, *pair) for i, pair in enumerate(pairs)],
        attention_blocks(model.pipeline),
        seeds=SEEDS,
        steps=STEPS,
        guidance=GUIDANCE,
        batch_pairs=3,
    )
    ours = vectors_from_moments(
        {(block.hookpoint, branch): sums for (block, branch), sums in moments.items()},
        concept="winter",
        model=model.fingerprint,
        timesteps=timesteps(model.pipeline, STEPS),
    )
    return Both(model, published_vectors(model.pipeline, pairs, SEEDS), ours)


def by_hookpoint(pipeline: Any, vectors: SteeringVectors) -> dict[tuple[int, str, int], torch.Tensor]:
    """Our vectors by step, place and block, the block found by its module and not by its number."""
    found = {}
    names = {module: name for name, module in pipeline.unet.named_modules()}
    count: dict[str, int] = defaultdict(int)
    for place, attention in published_blocks(pipeline):
        number, count[place] = count[place], count[place] + 1
        for slot, direction in vectors.directions.items():
            if slot.hookpoint.path == f"unet.{names[attention]}":
                assert slot.steps is not None and slot.steps[0] == slot.steps[1] and slot.branch == "cond"
                found[slot.steps[0], place, number] = direction.unit
    return found


def test_the_vectors_are_those_of_the_published_formulas(both: Both) -> None:
    ours = by_hookpoint(both.model.pipeline, both.ours)
    expected = {
        (step, place, number): torch.from_numpy(vector)
        for step, places in both.published.items()
        for place, vectors in places.items()
        for number, vector in enumerate(vectors)
    }
    forwards = STEPS + (type(both.model.pipeline.scheduler).__name__ == "PNDMScheduler")
    assert len(expected) == forwards * 7 and set(ours) == set(expected)
    for key, vector in expected.items():
        assert (ours[key] - vector).norm() <= 1e-4, key


def ours_and_published(
    both: Both, vectors: SteeringVectors, layout: Layout, action: Action, strength: float, places: Sequence[str]
) -> None:
    """Latents are equal to 1e-4 of their norm and images to a grey level, and the edit is no small one."""
    model = both.model
    blocks, schedule = attention_blocks(model.pipeline), timesteps(model.pipeline, STEPS)
    recipe = AttentionRecipe(places=places, branch="both", bound="keep_norm")
    edits = attention_edits(action, vectors, strength, blocks=blocks, timesteps=schedule, recipe=recipe)
    options: Any = {"steps": STEPS, "guidance": GUIDANCE, "edits": steered_batches(model, edits)}
    latent = run_pipeline(model, Batch(0, 1, (PROMPT,), (SEED,)), "latent", **options)
    image = generate(model, [PROMPT], [SEED], **options)[0]
    with patched(model.pipeline, published_edit(layout, action, strength, places)):
        expected = published_image(model.pipeline, PROMPT, SEED, "latent")
    with patched(model.pipeline, published_edit(layout, action, strength, places)):
        picture = (published_image(model.pipeline, PROMPT, SEED, "np")[0] * 255).round()
    plain = published_image(model.pipeline, PROMPT, SEED, "latent")
    assert (plain - expected).norm() > 0.02 * expected.norm()
    assert (latent - expected).norm() <= 1e-4 * expected.norm()
    assert np.abs(image - picture).max() <= 1


ACTIONS: list[tuple[Action, float]] = [("add", 10.0), ("erase", 1.0), ("erase", 2.0)]


@pytest.mark.parametrize("places", [PLACES, ("mid", "up")], ids="-".join)
@pytest.mark.parametrize(("action", "strength"), ACTIONS)
def test_the_pictures_are_those_of_the_published_formulas(
    both: Both, action: Action, strength: float, places: tuple[str, ...]
) -> None:
    ours_and_published(both, both.ours, both.published, action, strength, places)


@pytest.mark.parametrize(("action", "strength"), ACTIONS)
@pytest.mark.parametrize("kept", [STEPS, 1], ids=["every step", "turbo"])
def test_a_pickle_of_seed_002_gives_the_picture_that_its_own_code_gives(
    both: Both, tmp_path: Path, action: Action, strength: float, kept: int
) -> None:
    # As many steps as were asked for; PNDM runs the UNet once more, and the last vector is used again.
    layout = {step: both.published[step] for step in range(kept)}
    path = tmp_path / "steering_vectors.pkl"
    path.write_bytes(pickle.dumps(layout))
    found = imported_vectors(read_layout(path), both.model.pipeline, both.model.fingerprint, concept="winter")
    ours_and_published(both, found, layout, action, strength, PLACES)


def test_what_is_exported_is_the_pickle_that_was_imported(both: Both, tmp_path: Path) -> None:
    path, back = tmp_path / "there.pkl", tmp_path / "back.pkl"
    path.write_bytes(pickle.dumps(both.published))
    pipeline, model = both.model.pipeline, both.model.fingerprint
    found = imported_vectors(read_layout(path), pipeline, model, concept="winter", steps=STEPS)
    back.write_bytes(to_pickle(found, pipeline))
    again = pickle.loads(back.read_bytes())
    assert list(again) == list(both.published)
    for step, places in both.published.items():
        assert type(again[step]) is defaultdict and again[step].default_factory is list
        assert list(again[step]) == list(PLACES)
        for place, vectors in places.items():
            for mine, theirs in zip(again[step][place], vectors, strict=True):
                assert mine.dtype == np.float32 and np.abs(mine - theirs).max() <= 1e-6


def test_bins_are_exported_step_by_step_and_missing_blocks_as_zeros(both: Both) -> None:
    slots = {slot: found for slot, found in both.ours.directions.items() if slot.steps == (1, 1)}
    up = {
        replace(slot, steps=(0, 2)): found
        for slot, found in slots.items()
        if slot.hookpoint.path.startswith("unet.up_blocks")
    }
    layout = as_layout(replace(both.ours, directions=up, controls={}), both.model.pipeline)
    assert len(layout) == len(both.ours.timesteps or ())
    for step, places in layout.items():
        assert [len(places[place]) for place in PLACES] == [len(both.published[0][place]) for place in PLACES]
        assert not any(vector.any() for place in ("down", "mid") for vector in places[place])
        for number, vector in enumerate(places["up"]):
            expected = both.published[1]["up"][number] if step <= 2 else np.zeros_like(vector)
            assert np.abs(vector - expected).max() <= 1e-4
