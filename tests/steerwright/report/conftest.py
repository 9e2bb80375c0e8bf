"""A report's content, made up and small: three prompts, one of which has no adaptive picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from seasons.label_set import SEASONS_WORLD
from steerwright.report.provenance import RunProvenance
from steerwright.report.winter.content import ReportContent
from steerwright.report.winter.page import write_report
from steerwright.scoring.judgements import CONDITIONS
from steerwright.scoring.target import parse_target
from steerwright.scoring.winter import score_winter
from steerwright.stats.bootstrap import Bootstrap

WINTER = parse_target("winter", {}, SEASONS_WORLD)
PROMPTS = {0: "a red car on a street in summer", 1: "a <b>blue</b> cat & friends in a room", 2: "a yellow tent"}
SCENES = [(0, "car", "red", "street"), (1, "cat", "blue", "room"), (2, "tent", "yellow", "lake")]


@pytest.fixture(scope="session")
def make_content(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ReportContent]:
    def make(side: int = 64, conditions: tuple[str, ...] = CONDITIONS) -> ReportContent:
        rng = np.random.default_rng(0)
        folder = tmp_path_factory.mktemp("pictures")
        prompts = pl.DataFrame(
            {
                "prompt_id": [0, 1, 2], "prompt": list(PROMPTS.values()), "resistance": ["high", "low", "medium"],
                "object": ["car", "cat", "tent"], "colour": ["red", "blue", "yellow"],
                "place": ["street", "room", None],
                "time": [None, None, None],
            },
            schema_overrides={"time": pl.String},
        )  # fmt: skip
        measured, pictures = [], []
        for number, thing, colour, place in SCENES:
            for seed in (4, 3):
                for condition in conditions:
                    # Adaptive is winter always, fixed on one seed, the rest never.
                    winter = condition == "adaptive" or (condition == "fixed" and seed == 3)
                    measured.append(
                        {
                            "prompt_id": number, "seed": seed, "condition": condition,
                            "season": "winter" if winter else "summer", "object": thing, "colour": colour,
                            "place": place, "time": "day", "winter_similarity": 0.4 if winter else 0.2,
                            "winter_margin": 0.1, "prompt_similarity": 0.5, "lpips": 0.3,
                        }
                    )  # fmt: skip
                    if condition in ("unsteered", "fixed", "adaptive") and not (
                        number == 2 and condition == "adaptive"
                    ):
                        path = folder / f"{number}-{seed}-{condition}.png"
                        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                        Image.fromarray(pixels).save(path)
                        row = {"prompt_id": number, "seed": seed, "condition": condition, "path": str(path)}
                        pictures.append(row)
        grid = [("0", 0.5, 0.1), ("0", 1.0, 0.2), ("0, 6, 7, 8", 0.5, 0.3), ("0, 6, 7, 8", 1.0, 0.9)]
        search = pl.DataFrame(
            [
                {"layers": layers, "strength": strength, "score": score, "kind": "grid", "chosen": score == 0.9,
                 "winter_rate": 0.25}
                for layers, strength, score in grid
            ]
            + [{"layers": "0", "strength": 0.7, "score": 0.15, "kind": "tpe", "chosen": False, "winter_rate": None}]
        )  # fmt: skip
        return ReportContent(
            title="Scenes <turned> to winter",
            model="seasons-sd",
            scores=score_winter(pl.DataFrame(measured), prompts, WINTER, Bootstrap(resamples=100)),
            pictures=pl.DataFrame(pictures),
            prompts=prompts.select("prompt_id", "prompt", "resistance"),
            search=search,
            activations=pl.DataFrame(
                {"layer": [0, 1, 0, 1], "tokens": ["content", "content", "eos", "eos"], "difference": [1.0, 2, 3, 4]}
            ),
            doses=pl.DataFrame(
                {"prompt_id": [0, 1, 2], "multiplier": [1.6, 0.8, 1.0], "reason": ["“summer”", "<indoor>", ""]}
            ),
            provenance=RunProvenance(
                {"Command": "steerwright run winter"}, {"a": {"b": [1, 2], "c": None}}, {"v": "ab12"}
            ),
            explanations={"A further word": "Said <here>."},
        )

    return make


@pytest.fixture(scope="session")
def content(make_content: Callable[..., ReportContent]) -> ReportContent:
    """The content of `report`."""
    return make_content()


@pytest.fixture(scope="session")
def report(content: ReportContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that is written once, for tests that only read it."""
    return write_report(tmp_path_factory.mktemp("report"), content)
