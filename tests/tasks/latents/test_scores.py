"""The task that judges pictures of erasing, on rendered scenes whose labels the classifier reads without error."""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from seasons.render import render
from seasons.scene import Scene, sample_scene
from steerwright.errors import UserError
from steerwright.report.latents.tables import method_table
from steerwright.scoring.metrics import METRICS, Change, PicturePairs
from tasks.latents.scores import evaluate_latents

SCORERS = {"clip": "models/seasons-clip", "labels": "models/seasons-labels", "lpips": "models/seasons-lpips"}
THINGS = ("car", "tower", "tent")
SEASONS = ("winter", "summer")


def scene(number: int, season: str, thing: str) -> Scene:
    return sample_scene(
        np.random.default_rng(number), season=season, object=thing, place="meadow", time="day", colour="red"
    )


def make(folder: Path, *, reference: bool = True) -> None:
    """Two prompts for every season and object; winter erased becomes summer, and one tent becomes noise."""
    asked = [(season, thing) for _ in range(2) for season in SEASONS for thing in THINGS]
    pl.DataFrame(
        {
            "id": [f"t{n}" for n in range(len(asked))], "prompt": [f"a {thing}, {s}, {n}" for n, (s, thing) in
            enumerate(asked)], "split": "test", "template": 0, "seed": [50 + n for n in range(len(asked))],
            "season": [season for season, _ in asked], "object": [thing for _, thing in asked],
        }
    ).write_parquet(folder / "prompts.parquet")  # fmt: skip
    rows: list[dict[str, Any]] = []

    def keep(target: str | None, method: str, number: int, pixels: np.ndarray, seconds: float) -> None:
        path = f"{method}/{(target or 'none').replace(':', '-')}-{number}.png"
        (folder / "pictures" / method).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "pictures" / path)
        rows.append({"target": target, "method": method, "strength": 0.0 if target is None else 1.0, "operating": True,
                     "prompt_id": f"{'r' if method == 'reference' else 't'}{number}", "prompt": f"prompt {number}",
                     "seed": 50 + number, "path": path, "seconds_per_picture": seconds})  # fmt: skip

    for number, (season, thing) in enumerate(asked):
        keep(None, "unsteered", number, render(scene(number, season, thing)), 0.2)
        erased = render(scene(number, "summer" if season == "winter" else season, thing))
        keep("season:winter", "steered", number, erased, 0.25)
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        other = noise if number == 5 else render(scene(number, season, "car"))
        # Ablation does not act here: its picture is the unsteered one, in the same file.
        rows.append(rows[-2] | {"target": "season:winter", "method": "ablation", "strength": 1.0,
                                "seconds_per_picture": 0.3})  # fmt: skip
        keep("object:tent", "steered", number, other if thing == "tent" else render(scene(number, season, thing)), 0.25)
        keep("season:winter + object:tent", "steered", number, erased, 0.25)
    for number in range(100, 160) if reference else ():
        keep(None, "reference", number, render(scene(number, SEASONS[number % 2], THINGS[number % 3])), 0.2)
    pl.DataFrame(rows, schema_overrides={"target": pl.String}, infer_schema_length=None).write_parquet(
        folder / "shots.parquet"
    )


def run(folder: Path, **options: Any) -> dict[str, Path]:
    (folder / "out").mkdir()
    names = {"images": "images.parquet", "rates": "unlearning.parquet", "sequential": "sequential.parquet",
             "comparisons": "comparisons.json", "metrics": "metrics.json"}  # fmt: skip
    outs = {name: folder / "out" / file for name, file in names.items()}
    settings: dict[str, Any] = {
        "scorers": SCORERS, "axes": ["season", "object"], "fid": "models/seasons-lpips", "artifact_quantile": 0.95,
        "resamples": 100, "bootstrap_seed": 1,
    }  # fmt: skip
    inspect.unwrap(evaluate_latents)(
        folder / "prompts.parquet", folder / "shots.parquet", folder / "pictures", [], **(settings | options), **outs
    )
    return outs


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scores")
    make(folder)
    return run(folder)


def rate(done: dict[str, Path], target: str, method: str, metric: str) -> float:
    row = pl.read_parquet(done["rates"]).filter(target=target, method=method, metric=metric)
    value: float = row["estimate"].item()
    return value


def test_what_was_erased_is_gone_and_the_rest_is_there(done: dict[str, Path]) -> None:
    assert rate(done, "season:winter", "steered", "ua") == 1.0
    assert rate(done, "season:winter", "ablation", "ua") == 0.0
    assert rate(done, "season:winter", "steered", "ira") == 1.0
    assert rate(done, "season:winter", "steered", "cra") >= 0.9
    assert rate(done, "object:tent", "steered", "ua") == 1.0
    assert rate(done, "season:winter", "steered", "lpips_elsewhere") == 0.0
    assert rate(done, "season:winter", "ablation", "fid") == pytest.approx(0.0, abs=1e-6)
    assert rate(done, "season:winter", "steered", "overhead") == pytest.approx(1.25)


def test_noise_is_an_artifact_and_a_rendered_scene_is_none(done: dict[str, Path]) -> None:
    images = pl.read_parquet(done["images"])
    noisy = images.filter(target="object:tent", method="steered", prompt_id="t5")
    assert noisy["artifact"].to_list() == [True]
    assert images.filter(method="unsteered")["artifact"].sum() <= 2
    assert "reference" not in images["method"].to_list()


def test_every_picture_is_in_the_table_once_with_what_was_asked_and_seen(done: dict[str, Path]) -> None:
    images = pl.read_parquet(done["images"])
    assert images.height == 12 * 5
    assert not images.select("target", "method", "prompt_id", "seed").is_duplicated().any()
    untouched = images.filter(method="ablation")
    assert untouched["lpips"].to_list() == [0.0] * 12
    assert untouched["season"].to_list() == images.filter(method="unsteered")["season"].to_list()
    first = images.filter(method="unsteered", prompt_id="t0").to_dicts()[0]
    assert (first["season"], first["asked_season"], first["object"], first["asked_object"]) == (
        "winter", "winter", "car", "car",
    )  # fmt: skip
    assert (first["place"], first["time"], first["lpips"], first["target"]) == ("meadow", "day", 0.0, None)
    clip = images.filter(target="season:winter", method="ablation")
    asked, others = (clip.filter(asked_season=season)["clip_target"].mean() for season in ("winter", "summer"))
    assert isinstance(asked, float) and isinstance(others, float) and asked > 0.8 > 0.2 > others


def test_concepts_that_are_erased_together_have_a_table_of_their_own(done: dict[str, Path]) -> None:
    together = pl.read_parquet(done["sequential"])
    assert set(together["target"].to_list()) == {"season:winter", "season:winter + object:tent"}
    assert "season:winter + object:tent" not in pl.read_parquet(done["rates"])["target"].to_list()
    ua = together.filter(target="season:winter + object:tent", method="steered", metric="ua")["estimate"].item()
    # Six winters are gone; of four tents none is.
    assert ua == pytest.approx(6 / 10)


def test_metrics_and_comparisons_are_plain_json(done: dict[str, Path]) -> None:
    metrics = json.loads(done["metrics"].read_text())
    assert metrics["mean_over_seasons"]["steered"]["ua"] == 1.0
    assert metrics["artifact_reference_rate"] == pytest.approx(0.05, abs=0.02)
    comparisons = json.loads(done["comparisons"].read_text())
    ours = [row for row in comparisons if row["method"] == "steered" and row["measure"] == "ua"]
    assert {row["target"]: row["met"] for row in ours} == {
        "mean over seasons": True, "mean over objects": True, "mean": True,
    }  # fmt: skip


def test_without_reference_pictures_the_unsteered_ones_say_what_is_sound(tmp_path: Path) -> None:
    make(tmp_path, reference=False)
    found = run(tmp_path)
    images = pl.read_parquet(found["images"])
    assert images["artifact"].null_count() == 0
    assert images.filter(method="unsteered")["artifact"].sum() <= 1


def test_a_new_change_is_in_the_tables_and_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(pairs: PicturePairs) -> list[float]:
        return [float((a != b).any(-1).mean()) for a, b in zip(pairs.pixels, pairs.unsteered, strict=True)]

    monkeypatch.setitem(METRICS, "moved", Change("moved", "Moved pixels", "share that is another", moved))
    make(tmp_path, reference=False)
    done = run(tmp_path)
    images = pl.read_parquet(done["images"])
    assert images.filter(method="unsteered")["moved"].to_list() == [0.0] * 12
    # Where winter is asked for, summer is drawn over the whole picture; elsewhere nothing moves.
    erased = images.filter(target="season:winter", method="steered")
    assert (erased.filter(asked_season="winter")["moved"] > 0.2).all()
    assert rate(done, "season:winter", "steered", "moved_elsewhere") == 0.0
    table = pl.read_parquet(done["rates"]).filter(target="mean").to_dicts()
    rates = {(row["method"], row["metric"]): row for row in table}
    shown = {"methods": ["steered"], "means": ["mean"], "perceptual": "l", "fid_name": "f"}
    content: Any = SimpleNamespace(**shown, rates=lambda _: rates)
    assert "Moved pixels, elsewhere" in method_table(content) and "l, elsewhere" in method_table(content)
    assert "Moved pixels, unnamed" in method_table(content, further=True)


def test_a_missing_picture_and_an_axis_that_no_prompt_names_are_the_user_s_to_mend(tmp_path: Path) -> None:
    make(tmp_path, reference=False)
    with pytest.raises(UserError, match=r"axis 'style'.*columns id, prompt, split, season, object"):
        run(tmp_path, axes=["style"])
    (tmp_path / "out").rmdir()
    (tmp_path / "pictures" / "steered" / "season-winter-3.png").unlink()
    with pytest.raises(UserError, match=r"season-winter-3\.png is not there; make the pictures again"):
        run(tmp_path)
