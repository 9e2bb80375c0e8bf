"""A new metric is one entry: it has a column in the tables, an interval in the aggregate and a row in the report."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seasons.label_set import SEASONS_WORLD
from steerwright.files import save_picture
from steerwright.images import picture_path
from steerwright.report.scoreboard import measures
from steerwright.report.winter.tables import measurements, per_prompt
from steerwright.scoring.judgements import CONDITIONS
from steerwright.scoring.metrics import METRICS, MeasuredPictures, Metric
from steerwright.scoring.target import parse_target
from tasks.winter.scores import evaluate

ROOT = Path(__file__).parents[3]
WINTER = parse_target("winter", {}, SEASONS_WORLD)
SCORERS = {judge: str(ROOT / "models" / f"seasons-{judge}") for judge in ("clip", "labels", "lpips")}
WORDS = {"high": ["sun"], "medium": ["day"], "low": ["room"], "default": "low"}


def brightness(pictures: MeasuredPictures) -> list[float]:
    return [float(picture.mean()) for picture in pictures.pixels]


@pytest.fixture
def known() -> Iterator[None]:
    METRICS["brightness"] = Metric("brightness", "Brightness", "mean of all pixels", brightness)
    yield
    del METRICS["brightness"]


def test_a_new_metric_is_in_the_tables_and_in_the_report(known: None, tmp_path: Path) -> None:
    for place, condition in enumerate(CONDITIONS):
        for prompt in (0, 1):
            path = tmp_path / "pictures" / picture_path(condition, prompt, 17)
            save_picture(np.full((64, 64, 3), 40 * place + 2 * prompt, np.uint8), path)
    concepts = {name: concept.model_dump() for name, concept in WINTER.concepts.items()}
    (tmp_path / "target.json").write_text(json.dumps({"concepts": concepts, "added_words": WINTER.added_words}))
    scored = [{"id": 0, "prompt": "a red car"}, {"id": 1, "prompt": "a blue boat"}]
    (tmp_path / "prompts.json").write_text(json.dumps({"scored": scored}))
    files = [tmp_path / f"{name}.parquet" for name in ("images", "per_prompt", "aggregate")]
    texts = [tmp_path / name for name in ("comparisons.json", "metrics.json", "rates.csv", "similarity.csv")]
    evaluate(
        tmp_path / "target.json", tmp_path / "prompts.json", tmp_path / "pictures", [], SCORERS, WORDS, [17], 20, 5,
        *files, *texts,
    )  # fmt: skip
    images, each, aggregate = map(pl.read_parquet, files)
    adaptive = images.filter(condition="adaptive", prompt_id=1)
    assert adaptive["brightness"].to_list() == [40 * CONDITIONS.index("adaptive") + 2]
    row = aggregate.filter(metric="brightness", condition="fixed", group="all").to_dicts()[0]
    assert (row["estimate"], row["prompts"]) == (41.0, 2)
    assert measures(WINTER)["brightness"].heading[0] == "Brightness"
    assert "Brightness<small>mean of all pixels</small>" in measurements(aggregate, WINTER)
    assert "41.00" in measurements(aggregate, WINTER) and ">Brightness</th>" in per_prompt(each, WINTER)
