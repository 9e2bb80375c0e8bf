"""Pictures and the rows of the same run: whole or absent, kept, linked, and the same as those of a plain call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from steerwright.activations import denoiser as collect_latents
from steerwright.activations.denoiser import collect_shard, commit_collection
from steerwright.activations.shard_plan import CollectedPrompt, parse_collection, plan_collection
from steerwright.activations.store.reader import open_store
from steerwright.experiments.draw_and_record import PictureShard, commit_pictures, draw_shard, plan_pictures, repeated
from steerwright.images import picture_name
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint

BLOCK = "transformer.transformer_blocks.1"
PROMPTS = [CollectedPrompt(id=f"p{i}", prompt="a b c"[: 1 + 2 * i], split="test", seed=50 + i) for i in range(3)]


@pytest.fixture(autouse=True)
def the_loaded_model(flux: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_latents, "load_once", lambda spec, digest: flux)


def planned(
    model: Any, folder: Path, prompts: Sequence[CollectedPrompt], earlier: Path | None = None
) -> list[PictureShard]:
    def files(name: str) -> dict[str, Path]:
        return {} if earlier is None else {path.name: path for path in (earlier / name).iterdir()}

    asked = parse_collection(
        {"hookpoints": [BLOCK], "steps": [2], "splits": ["test"], "batch_size": 2, "prompts_per_shard": 2}
    )
    jobs = plan_collection(model, prompts, asked, folder / "rows", earlier=files("rows"))
    return plan_pictures(jobs, folder / "pictures", files("pictures"))


def made(model: Any, folder: Path, prompts: Sequence[CollectedPrompt], earlier: Path | None = None) -> list[str]:
    shards = planned(model, folder, prompts, earlier)
    told = [draw_shard(shard) for shard in shards]
    commit_collection([shard.rows for shard in shards])
    commit_pictures(shards)
    return told


def pixels(folder: Path, prompts: Sequence[CollectedPrompt]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(folder / "pictures" / picture_name(one.id))) for one in prompts])


def test_pictures_are_those_of_a_plain_call_and_rows_those_of_the_early_exit(flux: Any, tmp_path: Path) -> None:
    made(flux, tmp_path / "both", PROMPTS)
    # Shards are [p0, p1] and [p2]: batches as they were.
    plain = np.concatenate([
        generate(flux, [one.prompt for one in part], [one.seed for one in part], batch_size=2)
        for part in (PROMPTS[:2], PROMPTS[2:])
    ])  # fmt: skip
    np.testing.assert_array_equal(pixels(tmp_path / "both", PROMPTS), plain)
    jobs = [shard.rows for shard in planned(flux, tmp_path / "rows_alone", PROMPTS)]
    for job in jobs:
        collect_shard(job)
    commit_collection(jobs)
    hookpoint = Hookpoint.parse(BLOCK)
    rows = [open_store(tmp_path / name / "rows").read(hookpoint) for name in ("both", "rows_alone")]
    assert len(rows[0]) == 3 * 16 and torch.equal(rows[0], rows[1])


def test_what_is_there_is_kept_and_what_is_lost_is_made_again(flux: Any, tmp_path: Path) -> None:
    assert made(flux, tmp_path, PROMPTS) == ["collected", "collected"]
    before = pixels(tmp_path, PROMPTS)
    assert made(flux, tmp_path, PROMPTS) == ["kept", "kept"]
    (tmp_path / "pictures" / picture_name("p1")).unlink()
    assert made(flux, tmp_path, PROMPTS) == ["collected", "kept"]
    np.testing.assert_array_equal(pixels(tmp_path, PROMPTS), before)


def test_more_prompts_cost_their_shards_alone(flux: Any, tmp_path: Path) -> None:
    made(flux, tmp_path / "old", PROMPTS[:2])
    told = made(flux, tmp_path / "new", PROMPTS, earlier=tmp_path / "old")
    assert told == ["kept", "collected"]
    old, new = ((tmp_path / name / "pictures" / picture_name("p0")).stat().st_ino for name in ("old", "new"))
    assert old == new  # linked, not drawn


def test_pictures_of_prompts_that_are_gone_go(flux: Any, tmp_path: Path) -> None:
    made(flux, tmp_path, PROMPTS)
    made(flux, tmp_path, PROMPTS[:2])
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["p0.png", "p1.png"]


def test_seeds_of_repetitions_differ_and_do_not_depend_on_their_number() -> None:
    # Seed 004 gave prompt i the seeds 42 + 2 i + repetition, so that a third repetition was the next prompt's first.
    prompts = [CollectedPrompt(id=f"p{i}", prompt="a", split="test", seed=42 + i) for i in range(200)]
    five, two = repeated(prompts, 5), repeated(prompts, 2)
    assert len({one.seed for one in five}) == 1000
    assert [one.id for one in two[:3]] == ["p0-0", "p0-1", "p1-0"]
    assert {one.id: one.seed for one in two}.items() <= {one.id: one.seed for one in five}.items()
    assert [one.seed for one in two[::2]] == [one.seed for one in prompts]


def test_an_id_that_is_no_plain_word_never_becomes_a_path() -> None:
    assert picture_name("test0-house-winter-1") == "test0-house-winter-1.png"
    for id_ in ("../../etc/passwd", "a/b", "", ".hidden", "x" * 200, "a\0b"):
        name = picture_name(id_)
        assert "/" not in name and ".." not in name and "\0" not in name and len(name) == 28
