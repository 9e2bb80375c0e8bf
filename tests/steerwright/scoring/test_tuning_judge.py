"""What settings are tuned on: the concept that is asked for, and what was kept, with and without labels."""

import numpy as np
import pytest
import torch

from seasons.label_set import SEASONS_WORLD
from seasons.render import render
from seasons.scene import sample_scene
from steerwright.experiments.floors import Floors, Kept
from steerwright.experiments.search import Measured, objective
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.judges import TuningJudge, directional_similarity, kept_by, prompt_share
from steerwright.scoring.target import parse_target

SEASONS = ("winter", "autumn", "summer")


@pytest.fixture(scope="module")
def clip() -> ClipScorer:
    return ClipScorer()


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """A red house at a lake, in winter, autumn and summer by day, then the same by night."""
    return np.stack([rendered(season, time) for time in ("day", "night") for season in SEASONS])


def rendered(season: str, time: str, thing: str = "house", colour: str = "red", place: str = "lake") -> np.ndarray:
    fixed = {"season": season, "time": time, "object": thing, "colour": colour, "place": place}
    return render(sample_scene(np.random.default_rng(5), **fixed))


def test_the_judge_looks_for_the_concept_that_is_asked_for(clip: ClipScorer, pictures: np.ndarray) -> None:
    targets = {name: parse_target(name, {}, SEASONS_WORLD) for name in ("winter", "autumn")}
    found = {name: TuningJudge(clip, target).judge(pictures).wanted for name, target in targets.items()}
    assert (found["winter"] > 0.5).tolist() == [True, False, False] * 2
    assert (found["autumn"] > 0.5).tolist() == [False, True, False] * 2


def test_of_two_at_once_the_least_counts(clip: ClipScorer, pictures: np.ndarray) -> None:
    both = TuningJudge(clip, parse_target(["winter", "night"], {}, SEASONS_WORLD)).judge(pictures)
    assert (both.wanted > 0.5).tolist() == [False, False, False, True, False, False]
    alone = [parse_target(name, {}, SEASONS_WORLD) for name in ("winter", "night")]
    each = [TuningJudge(clip, target).judge(pictures).wanted for target in alone]
    assert torch.equal(both.wanted, torch.minimum(*each))
    assert both.others.shape == (6, 3)  # neither season nor time is to stay


def test_phrases_stand_in_where_the_world_has_no_label(clip: ClipScorer, pictures: np.ndarray) -> None:
    dark = {
        "pairs": "x.csv",
        "phrases": ["a photo of a scene at night"],
        "other_phrases": ["a photo of a scene at noon"],
    }
    judge = TuningJudge(clip, parse_target("dark", {"dark": dark}, SEASONS_WORLD, "in the dark"))
    assert (judge.judge(pictures).wanted > 0.5).tolist() == [False] * 3 + [True] * 3


def test_without_labels_what_is_kept_is_similarity_to_the_prompt_and_the_way_that_was_meant(
    clip: ClipScorer, pictures: np.ndarray
) -> None:
    judge = TuningJudge(clip, parse_target("winter", {}, SEASONS_WORLD))
    plain = judge.judge(np.stack([pictures[2]] * 3))
    other = rendered("summer", "night", "cat", "blue", "room")
    now = judge.judge(np.stack([pictures[0], pictures[2], other]))
    prompts = ["a photo of a red house by a lake"] * 3
    kept = judge.kept(now, plain, prompts, ("prompt_share", "directional"))
    assert set(kept) == {"prompt_share", "directional"}
    turned, same, replaced = zip(kept["prompt_share"].tolist(), kept["directional"].tolist(), strict=True)
    assert same == pytest.approx((1.0, 1.0))
    assert turned[0] > replaced[0] + 0.3
    assert turned[1] > replaced[1] + 0.2


def test_the_measures_by_hand() -> None:
    unit = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    x, y, between = unit[0:1], unit[1:2], unit[2:3]
    assert prompt_share(between, x, x).tolist() == pytest.approx([0.6])
    assert prompt_share(x, between, x).tolist() == [1.0]  # more than before is no loss
    assert prompt_share(x, y, x).tolist() == [1.0]  # nothing was there to lose
    # From (1, 0) to (0, 1) along (-1, 1); meant is (-1, 1), its opposite, and (0, 1) at 45 degrees.
    assert directional_similarity(y, x, x, y).tolist() == pytest.approx([1.0])
    assert directional_similarity(y, x, y, x).tolist() == pytest.approx([-1.0])
    assert directional_similarity(y, x, torch.zeros(1, 2), y).tolist() == pytest.approx([0.5**0.5])
    assert directional_similarity(x, x, y, x).tolist() == [1.0]  # what did not move has not gone astray


def test_every_floor_must_be_kept_and_what_is_missing_adds_up() -> None:
    floors = Floors(prompt_share=0.9, directional=0.25)
    assert objective(Measured(0.75, None, 0.9, 0.25), floors, goal=0.5) == 0.5
    assert objective(Measured(0.75, None, 0.9, 0.0), floors) == -2.25
    assert objective(Measured(0.75, None, 0.65, 0.0), floors) == pytest.approx(-2.5)
    with pytest.raises(ValueError, match="similarity to the prompt of None"):
        floors.missing(Kept(directional=1.0))
    with pytest.raises(ValueError, match="no floor is given"):
        Floors()


def test_without_labels_an_edit_is_held_to_what_the_prompt_says_after_it(
    clip: ClipScorer, pictures: np.ndarray
) -> None:
    summer, night = clip.images(pictures[2:3]), clip.images(pictures[5:6])
    said, meant = ["a photo of a house at noon"], ["a photo of a house at night"]
    assert kept_by("directional", clip, night, summer, said, meant).item() > 0.2
    assert kept_by("directional", clip, night, summer, meant, said).item() < -0.2
    # Night is further from what was said, and nearer to what is meant.
    assert kept_by("prompt", clip, night, summer, said, meant).item() < 1
    assert kept_by("prompt", clip, night, summer, meant, meant).item() == 1
