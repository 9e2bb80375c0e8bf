"""The files of steering-hogs and CASteer as vectors: what is where, and what does not fit is named."""

import pickle
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.pickles import as_layout, imported_vectors, read_layout
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="tiny", source="here", revision=None, digest="0" * 64, libraries={})
# Of the pipeline below: blocks by place with their widths.
WIDTHS = {"down": (8, 16, 16), "mid": (16, 16), "up": (16, 16, 16, 16, 8, 8)}
PATHS = [
    "down_blocks.0.attentions.0.transformer_blocks.0",
    "down_blocks.1.attentions.0.transformer_blocks.0",
    "down_blocks.1.attentions.0.transformer_blocks.1",
    "mid_block.attentions.0.transformer_blocks.0",
    "mid_block.attentions.0.transformer_blocks.1",
    "up_blocks.0.attentions.0.transformer_blocks.0",
    "up_blocks.0.attentions.0.transformer_blocks.1",
    "up_blocks.0.attentions.1.transformer_blocks.0",
    "up_blocks.0.attentions.1.transformer_blocks.1",
    "up_blocks.1.attentions.0.transformer_blocks.0",
    "up_blocks.1.attentions.1.transformer_blocks.0",
]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """A UNet with two transformer blocks in some places, as SDXL has, and PNDM."""
    from diffusers import PNDMScheduler, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        transformer_layers_per_block=[1, 2],
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
        reverse_transformer_layers_per_block=None,
    )
    return SimpleNamespace(unet=unet, scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1))


def layout(steps: int) -> dict[int, Any]:
    """Unit vectors whose direction tells step, place and block: 1 at (step + block) modulo width, sign by place."""
    found: dict[int, Any] = {}
    for step in range(steps):
        found[step] = defaultdict(list)
        for place, widths in WIDTHS.items():
            for number, width in enumerate(widths):
                vector = np.zeros(width, np.float32)
                vector[(step + number) % width] = -1 if place == "up" else 1
                found[step][place].append(vector)
    return found


def written(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def test_every_vector_lands_at_its_block_and_step(pipeline: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "v.pkl", layout(4))
    found = imported_vectors(read_layout(path), pipeline, MODEL, concept="pig")
    assert (found.concept, found.model, found.token_policy) == ("pig", MODEL, "mean")
    # Four of the five timesteps that PNDM visits in four steps.
    assert found.timesteps == (751, 501, 501, 251)
    assert [str(hookpoint) for hookpoint in found.hookpoints] == [f"unet.{path}.attn2:out" for path in PATHS]
    for slot, direction in found.directions.items():
        assert slot.steps is not None and slot.branch == "cond" and slot.steps[0] == slot.steps[1]
        at = PATHS.index(slot.hookpoint.path[5:-6])
        number = at - max(first for first in (0, 3, 5) if first <= at)
        place = (slot.steps[0] + number) % direction.width
        assert direction.unit[place] == (-1 if at >= 5 else 1) and direction.unit.count_nonzero() == 1
        assert direction.norm == 1 and direction.origin is None
    assert len(found.directions) == 44 and not found.controls


def test_half_precision_is_made_length_one(pipeline: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content = {0: {place: [rng.standard_normal(w) for w in widths] for place, widths in WIDTHS.items()}}
    halves = {0: {p: [(v / np.linalg.norm(v)).astype(np.float16) for v in vs] for p, vs in content[0].items()}}
    found = imported_vectors(read_layout(written(tmp_path / "v.pkl", halves)), pipeline, MODEL, concept="x")
    vectors = [vector for part in content[0].values() for vector in part]
    for direction, vector in zip(found.directions.values(), vectors, strict=True):
        assert direction.unit.norm() == pytest.approx(1, abs=1e-6)
        assert torch.allclose(direction.unit.double(), torch.from_numpy(vector / np.linalg.norm(vector)), atol=1e-3)


def test_the_steps_of_the_original_run_may_be_more_or_fewer_than_the_file_has(pipeline: Any, tmp_path: Path) -> None:
    path = read_layout(written(tmp_path / "v.pkl", layout(5)))
    # A PNDM run of four steps leaves five vectors when each forward is kept.
    assert imported_vectors(path, pipeline, MODEL, concept="x", steps=4).timesteps == (751, 501, 501, 251, 1)
    assert imported_vectors(path, pipeline, MODEL, concept="x", steps=10).timesteps == (901, 801, 801, 701, 601)
    with pytest.raises(UserError, match="vectors for 5 steps, but a run of tiny with 3 steps has only 4"):
        imported_vectors(path, pipeline, MODEL, concept="x", steps=3)


def test_zeros_are_no_direction(pipeline: Any, tmp_path: Path) -> None:
    content = layout(2)
    content[1]["mid"][1][:] = 0
    found = imported_vectors(read_layout(written(tmp_path / "v.pkl", content)), pipeline, MODEL, concept="x")
    mid = [slot.steps for slot in found.directions if slot.hookpoint.path == f"unet.{PATHS[4]}.attn2"]
    assert mid == [(0, 0)] and len(found.directions) == 21
    nothing = {0: {place: [np.zeros(w, np.float32) for w in widths] for place, widths in WIDTHS.items()}}
    with pytest.raises(UserError, match="nothing but zeros"):
        imported_vectors(read_layout(written(tmp_path / "v.pkl", nothing)), pipeline, MODEL, concept="x")


def test_another_number_of_blocks_and_another_width_are_named(pipeline: Any, tmp_path: Path) -> None:
    few, narrow, no_mid = layout(2), layout(2), layout(2)
    few[1]["up"].pop()
    narrow[1]["up"][4] = np.eye(12, dtype=np.float32)[0]
    for places in no_mid.values():
        del places["mid"]
    cases = (
        (few, r"at step 1 it has 5 vectors for up, but this model has 6 cross-attention blocks"),
        (narrow, r"at step 1 .* block up\.4 has 12 values, but that block \(unet\.up_blocks\.1\S+\) has 8"),
        (no_mid, r"at step 0 it has 0 vectors for mid, but this model has 2"),
    )
    for content, expected in cases:
        with pytest.raises(UserError, match="belongs to another model: .*" + expected):
            imported_vectors(read_layout(written(tmp_path / "v.pkl", content)), pipeline, MODEL, concept="x")


def one(vector: Any) -> dict[int, Any]:
    return {0: {"mid": [vector]}}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([1, 2], "it holds a list, not a dict of steps"),
        ({}, "it holds a dict, not a dict of steps"),
        (None, "it holds nothing"),
        ({1: {}, 2: {}}, "2 entries, but none for step 0"),
        ({"down": []}, "1 entries, but none for step 0"),
        (dict.fromkeys(range(2001)), "2001 steps, more than any schedule"),
        ({0: []}, "step 0 holds a list"),
        ({0: {"left": []}}, "step 0 has the place 'left'; there are down, mid, up"),
        ({0: {7: []}}, "step 0 has the place a int"),
        ({0: {"up": {}}}, "step 0, up holds a dict, not a list of vectors"),
        (one(3), r"step 0, mid\.0 is a int, not a vector"),
        (one(np.ones((1, 4), np.float32) / 2), r"mid\.0 is an array of shape \[1, 4\], not a vector"),
        (one(np.ones(4, np.float32)), r"mid\.0 has the length 2, not 1"),
        (one(np.array([np.nan, 1], np.float32)), r"mid\.0 holds values that are not finite"),
    ],
)
def test_what_is_not_in_the_layout_is_named_by_where_it_is(tmp_path: Path, content: Any, problem: str) -> None:
    with pytest.raises(UserError, match=r"v\.pkl is no file of steering-hogs or CASteer: .*" + problem):
        read_layout(written(tmp_path / "v.pkl", content))


def test_a_small_file_that_unfolds_to_a_huge_one_is_refused(tmp_path: Path) -> None:
    vector = np.eye(1, 100_000, dtype=np.float32)[0]
    many = [vector] * 1000
    with pytest.raises(UserError, match="more than 134217728 numbers"):
        read_layout(written(tmp_path / "v.pkl", {step: {"up": many, "down": many} for step in range(100)}))


def test_only_cross_attention_of_this_model_goes_into_the_layout(pipeline: Any) -> None:
    def at(path: str, **slot: Any) -> SteeringVectors:
        direction = Direction(torch.eye(8)[0], torch.tensor(2.0))
        return SteeringVectors("x", MODEL, "x", "mean", {VectorKey(Hookpoint(path), **slot): direction})

    for path in ("text_encoder.encoder.layers.2.mlp", f"unet.{PATHS[0]}.attn1", "unet.up_blocks.9.attn2"):
        with pytest.raises(UserError, match="knows cross-attention only: they hold one at " + path):
            as_layout(at(path), pipeline)
    with pytest.raises(UserError, match="uncond half"):
        as_layout(at(f"unet.{PATHS[0]}.attn2", branch="uncond"), pipeline)
    # Without steps: one step for all, as of a turbo model.
    assert list(as_layout(at(f"unet.{PATHS[0]}.attn2"), pipeline)) == [0]
