"""The table of images, and what is measured of steered ones: on rendered scenes, whose labels are known."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from seasons.captions import full_caption
from seasons.render import render
from seasons.scene import sample_scenes
from steerwright.activations.shard_plan import CollectedPrompt
from steerwright.errors import UserError
from steerwright.experiments.draw_and_record import repeated
from steerwright.features.labels import label_columns
from steerwright.images import load_images, picture_name
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.picture_judge import PictureJudge
from tasks.flux.images import image_table

SCENES = sample_scenes(12, 4321)
SCORERS = {"clip": "models/seasons-clip", "labels": "models/seasons-labels", "lpips": "models/seasons-lpips"}


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    monkeypatch.chdir(pytestconfig.rootpath)


def test_labels_are_read_off_the_pictures_and_prompts_say_what_was_asked(tmp_path: Path) -> None:
    prompts = pl.DataFrame({
        "id": ["p0", "p1", "p2"], "prompt": ["x", "y", "z"], "split": "test", "template": 0, "seed": [1, 2, 3],
        "season": ["winter", None, "summer"], "object": ["cat", "cat", None],
    })  # fmt: skip
    asked = [CollectedPrompt(id=f"p{i}", prompt="xyz"[i], split="test", seed=i + 1) for i in range(3)]
    images = repeated(asked, 4)
    for one, scene in zip(images, SCENES, strict=True):
        Image.fromarray(render(scene)).save(tmp_path / picture_name(one.id))
    table = image_table(images, prompts, 4, tmp_path, LabelScorer.load(SCORERS["labels"]))
    assert (
        table["image"].to_list() == list(range(12))
        and table["prompt_id"].to_list() == ["p0"] * 4 + ["p1"] * 4 + ["p2"] * 4
    )
    assert table["repetition"].to_list() == [0, 1, 2, 3] * 3
    assert table["asked_season"].to_list() == ["winter"] * 4 + [None] * 4 + ["summer"] * 4
    for label in ("season", "object", "colour", "place", "time"):
        assert table[label].to_list() == [getattr(scene, label) for scene in SCENES]
    assert label_columns(table) == ["season", "object", "colour", "place", "time"]
    # Without a judge, what prompts ask for is all that is known.
    assert label_columns(image_table(images, prompts, 4, tmp_path, None)) == ["asked_season", "asked_object"]


def test_a_missing_picture_and_one_of_another_size_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"c\.png"):
        load_images([tmp_path / "a.png", tmp_path / "c.png"])
    with pytest.raises(UserError, match=r"b.png is \(8, 9\) pixels where others are \(8, 8\)"):
        load_images([tmp_path / "a.png", tmp_path / "b.png"])


def test_steered_pictures_are_measured_beside_their_unsteered_ones(tmp_path: Path) -> None:
    for number, scene in enumerate(SCENES[:2]):
        Image.fromarray(render(scene)).save(tmp_path / f"{number}.png")
    prompt = full_caption(SCENES[0])
    table = pl.DataFrame({
        "latent": [3, 3], "strength": [0.0, 1.0], "prompt_id": ["p", "p"], "prompt": [prompt, prompt], "seed": [1, 1],
        "file": ["0.png", "1.png"], "plain": ["0.png", "0.png"],
    })  # fmt: skip
    judge = PictureJudge(SCORERS)
    plain = judge.measured(table, tmp_path)
    assert plain["lpips"][0] == 0 and plain["lpips"][1] > 0.01
    # The first picture shows what the prompt says, and the second one is another scene.
    assert plain["clip"][0] == plain["clip_plain"][0] == plain["clip_plain"][1] > plain["clip"][1]
    assert plain["season"].to_list() == [SCENES[0].season, SCENES[1].season]
    assert "concept" not in plain.columns
    size = len(judge._clip.images(np.zeros((1, 64, 64, 3), np.uint8))[0])
    vector = np.eye(1, size, dtype=np.float32)[0]
    first = judge._clip.images(load_images([tmp_path / "1.png"])).numpy()[0, 0]
    assert judge.measured(table, tmp_path, {3: vector})["concept"][1] == pytest.approx(float(first))
    assert judge.measured(table, tmp_path, {4: vector})["concept"].to_list() == [None, None]
