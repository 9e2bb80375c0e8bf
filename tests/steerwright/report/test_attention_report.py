"""The page of attention edits: every edit on it, its numbers those of the tables, the same bytes every time."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from seasons.label_set import SEASONS_WORLD
from seasons.labels import LABELS
from seasons.render import render
from seasons.scene import Scene, sample_scene
from steerwright.report.attention.content import AttentionContent, EditTables
from steerwright.report.attention.grid import grid
from steerwright.report.attention.page import write_attention_report
from steerwright.report.provenance import RunProvenance
from steerwright.stats.bootstrap import Bootstrap
from tests.digests import digests
from tests.html_reader import HtmlReader

Make = Callable[..., AttentionContent]
THIN = "\u202f"
STRENGTHS = (2.0, 5.0, 10.0, 20.0)
OPERATING = 10.0
EDITS: dict[str, dict[str, Any]] = {
    "add-winter": {"action": "add", "concept": "winter", "target": None},
    "erase-cat": {"action": "erase", "concept": "cat", "target": None},
    "replace-cat-by-horse": {"action": "replace", "concept": "cat", "target": "horse"},
}
PROMPTS = [("cat", "meadow"), ("cat", "street"), ("cat", "lake"), ("cat", "mountain"), ("horse", "meadow"),
           ("horse", "lake"), ("car", "street"), ("boat", "lake"), ("tent", "room"), ("house", "meadow")]  # fmt: skip
RATES = ("concept_by_labels", "concept_by_clip", "concept_probability", "others_kept", "changed", "prompt_similarity",
         "lpips", *(f"{label}_right" for label in LABELS))  # fmt: skip


def kind_of(edit: str, thing: str) -> str:
    if edit == "add-winter":
        return "other"
    return {"cat": "contains", "horse": "neighbour"}.get(thing, "other")


def shots(strengths: tuple[float, ...]) -> Iterator[tuple[str, float, bool]]:
    yield "unsteered", 0.0, True
    for strength in strengths:
        yield "steered", strength, strength == OPERATING
    yield "random", OPERATING, True
    yield "prompt", 0.0, True
    yield "negative", 0.0, True


def steered(edit: str, scene: Scene, condition: str, strength: float, luck: float) -> Scene:
    """What an imagined model draws: the edit takes hold the surer the stronger it is."""
    sure = {"steered": strength / OPERATING * 0.95, "prompt": 0.9, "negative": 0.4}.get(condition, 0.0)
    values = {name: getattr(scene, name) for name in Scene.__dataclass_fields__}
    if luck < sure:
        if edit == "add-winter":
            values["season"] = "winter"
        elif scene.object == "cat":
            values["object"] = "house" if edit == "erase-cat" else "horse"
    if condition == "steered" and luck > 1.2 - strength / 40:
        values["colour"] = "red"
    return Scene(**values)


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return lambda **options: make_content(tmp_path_factory.mktemp("pictures"), **options)


def make_content(
    folder: Path, edits: tuple[str, ...] = tuple(EDITS), strengths: tuple[float, ...] = STRENGTHS, clip: bool = True,
    labels: bool = True, seeds: tuple[int, ...] = (7, 3), blocks: int = 6, steps: int = 5, control: bool = True,
) -> AttentionContent:  # fmt: skip
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    pictures: dict[str, list[dict[str, Any]]] = {edit: [] for edit in edits}
    for edit in edits:
        for number, (thing, place) in enumerate(PROMPTS):
            for seed in seeds:
                scene = sample_scene(np.random.default_rng((number, seed)), object=thing, place=place, season="summer")
                luck = rng.random()
                for condition, strength, operating in shots(strengths):
                    drawn = steered(edit, scene, condition, strength, luck)
                    path = folder / f"{edit}-{number}-{seed}-{condition}-{strength:g}.png"
                    Image.fromarray(render(drawn)).save(path)
                    pictures[edit].append(
                        {"prompt_id": number, "seed": seed, "condition": condition, "strength": strength,
                         "path": str(path)}
                    )  # fmt: skip
                    images.append(
                        judged(edit, number, seed, condition, strength, operating, scene, drawn, clip, labels)
                    )
    table = pl.DataFrame(images, infer_schema_length=None)
    steps_of = [(block, step) for block in range(blocks) for step in range(steps)]
    vectors = pl.DataFrame(
        {
            "block": [f"{('down', 'mid', 'up')[block * 3 // blocks]}.{block}" for block, _ in steps_of],
            "place": [("down", "mid", "up")[block * 3 // blocks] for block, _ in steps_of],
            "step_first": [2 * step for _, step in steps_of], "step_last": [2 * step + 1 for _, step in steps_of],
            "branch": ["cond"] * len(steps_of), "norm": [0.5 + block + step / 4 for block, step in steps_of],
            "control": [1.0 if control else None for _ in steps_of],
            "noise": [control and 0.5 + block + step / 4 < 1 for block, step in steps_of],
            "cosine_next": [None if step == steps - 1 else 1 - 0.3 * step for _, step in steps_of],
            "cosine_mean": [0.95 - 0.05 * block for block, _ in steps_of],
        },
        schema_overrides={"control": pl.Float64, "cosine_next": pl.Float64},
    )  # fmt: skip
    point = {"places": ["mid", "up"], "strength": OPERATING, "branch": "both", "units": "norm", "bound": "norm",
             "gate": None, "goal": 0.9, "reached": True}  # fmt: skip
    trials = [
        {"edit": edit, "places": places, "strength": strength, "wanted": min(1.0, strength * gain / 10),
         "kept": 1 - strength * gain / 60, "chosen": strength == OPERATING and places == "mid, up"}
        for edit in edits for places, gain in (("mid, up", 0.95), ("up", 0.5)) for strength in strengths
    ]  # fmt: skip
    aggregate = aggregated(table)
    return AttentionContent(
        title="Concepts <inside> the denoiser",
        model="seasons-sd",
        images=table,
        aggregate=aggregate,
        comparisons=compared(aggregate, edits),
        chosen={edit: EDITS[edit] | point for edit in edits},
        trials=pl.DataFrame(trials),
        pictures={edit: pl.DataFrame(rows) for edit, rows in pictures.items()},
        vectors={"winter": vectors, "cat": vectors},
        provenance=RunProvenance({"Command": "steerwright run attention"}, {"a": {"b": 1}}, {"vectors": "ab12"}),
        labels=SEASONS_WORLD,
        perceptual="lpips_seasons",
        fid_name="fid_seasons",
    )


def judged(
    edit: str, number: int, seed: int, condition: str, strength: float, operating: bool, scene: Scene, drawn: Scene,
    clip: bool, labels: bool,
) -> dict[str, Any]:  # fmt: skip
    wanted = EDITS[edit]["target"] or EDITS[edit]["concept"]
    own = "season" if wanted in LABELS["season"] else "object"
    shows = getattr(drawn, own) == wanted
    same = {label: getattr(drawn, label) == getattr(scene, label) for label in LABELS}
    kept = [value for label, value in same.items() if label != own]
    prompt = f"a {scene.colour} {PROMPTS[number][0]} in a <{PROMPTS[number][1]}>"
    return {
        "edit": edit, "action": EDITS[edit]["action"], "concept": EDITS[edit]["concept"], "prompt_id": number,
        "prompt": prompt, "seed": seed, "kind": kind_of(edit, PROMPTS[number][0]), "condition": condition,
        "strength": strength, "operating": operating, "setting": "indoor" if scene.indoor else "outdoor",
        **{label: getattr(drawn, label) if labels else None for label in LABELS},
        "concept_by_labels": shows if labels else None, "concept_by_clip": shows if clip else None,
        "concept_probability": (0.8 if shows else 0.1) if clip else None, "prompt_similarity": 0.3 if clip else None,
        "lpips": 0.02 * strength * (not all(same.values())), "others_kept": sum(kept) / 4 if labels else None,
        "changed": not all(same.values()) if labels else None,
        **{f"{label}_right": same[label] if labels else None for label in LABELS},
    }  # fmt: skip


def aggregated(images: pl.DataFrame) -> pl.DataFrame:
    bootstrap = Bootstrap(resamples=200)
    kinds = {"all": pl.lit(True), "outdoor": pl.col("setting") == "outdoor", "indoor": pl.col("setting") == "indoor"}
    kinds |= {kind: pl.col("kind") == kind for kind in ("contains", "neighbour", "other")}
    kinds["without"] = pl.col("kind") != "contains"
    rows: list[dict[str, Any]] = []
    keys = images.select("edit", "condition", "strength", "operating").unique(maintain_order=True)
    for key in keys.to_dicts():
        for kind, chosen in kinds.items():
            part = images.filter(chosen, **key)
            for metric in RATES:
                known = part.drop_nulls(metric)
                if known.height:
                    found = bootstrap.mean(known[metric].cast(pl.Float64).to_numpy(), known["prompt_id"].to_list())
                    rows.append(key | {
                        "kind": kind, "metric": metric, "estimate": found.estimate, "low": found.low,
                        "high": found.high, "prompts": found.clusters, "images": found.rows,
                    })  # fmt: skip
        if key["operating"] and key["condition"] != "unsteered":
            rows.append(key | {"kind": "all", "metric": "fid", "estimate": 1.23456, "low": None, "high": None,
                               "prompts": 10, "images": images.height})  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def compared(aggregate: pl.DataFrame, edits: tuple[str, ...]) -> pl.DataFrame:
    rows = []
    for edit in edits:
        asked = [("outdoor" if edit == "add-winter" else "contains", "concept_by_labels", "at least 90 %")]
        asked += [("without", "lpips", "at most 0.02")]
        for kind, metric, bar in asked:
            for row in aggregate.filter(edit=edit, kind=kind, metric=metric, operating=True).to_dicts():
                met = row["estimate"] > 0.9 if row["condition"] == "steered" and metric != "lpips" else None
                numbers = {name: row[name] for name in ("estimate", "low", "high", "prompts", "images")}
                rows.append({"edit": edit, "question": f"Does {edit} do it <so>?", "measure": metric.replace("_", " "),
                             "kind": kind, "condition": row["condition"], **numbers, "met": met,
                             "bar": bar if row["condition"] == "steered" else ""})  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"met": pl.Boolean})


@pytest.fixture(scope="session")
def content(make: Make) -> AttentionContent:
    return make()


@pytest.fixture(scope="session")
def report(content: AttentionContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_attention_report(tmp_path_factory.mktemp("report"), content)


@pytest.fixture(scope="session")
def page(report: Path) -> HtmlReader:
    return HtmlReader(report)


def section(report: Path, name: str) -> str:
    """The text of a section, without its parts' borders."""
    page = report.read_text(encoding="utf-8")
    inside = page.partition(f'id="{name}"')[2].partition('<section class="edit"')[0]
    return re.sub(r"<[^>]*>", " ", inside)


def estimate(content: AttentionContent, edit: str, condition: str, kind: str, metric: str) -> float:
    rows = content.aggregate.filter(edit=edit, condition=condition, kind=kind, metric=metric, operating=True)
    found: float = rows["estimate"].item()
    return found


def test_the_page_asks_for_nothing_outside_itself_and_its_links_lead_somewhere(report: Path, page: HtmlReader) -> None:
    ids = page.ids()
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith("data:") or target.removeprefix("#") in ids, target
    text = report.read_text()
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert not re.search(r"url\((?!#)|@import|<script", text)


def test_every_edit_has_its_section_and_what_comes_from_data_is_text(page: HtmlReader) -> None:
    assert {"overview", *EDITS, "vectors", "answers", "provenance", "notes"} <= page.sections()
    for said in (
        "Add winter",
        "Erase cat",
        "Replace cat by horse",
        "Concepts <inside>",
        "cat in a <street>",
        "do it <so>",
    ):
        assert said in page.text
    assert not {"inside", "street", "so"} & {tag for tag, _ in page.elements}


@pytest.mark.parametrize("edit", EDITS)
def test_the_numbers_of_an_edit_are_those_of_the_table(report: Path, content: AttentionContent, edit: str) -> None:
    shown = re.sub(r"\s+", " ", section(report, edit).replace(THIN, "~"))
    kinds = ["outdoor"] if edit == "add-winter" else ["contains", "neighbour", "other"]
    names = {"outdoor": "Outdoors", "contains": "Prompts that name it",
             "neighbour": "Prompts that name something near to it", "other": "Other prompts"}  # fmt: skip
    metrics = {"concept_by_labels": "by the classifier", "concept_by_clip": "by zero-shot CLIP"}
    table = shown[shown.index("Against the controls") :]
    for kind in kinds:
        part = table[table.index(f" {names[kind]} ") :]
        for metric, name in metrics.items():
            row = part[part.index(name) + len(name) :]
            conditions = ("unsteered", "steered", "random", "prompt", "negative")
            rows = [
                content.aggregate.filter(edit=edit, condition=c, kind=kind, metric=metric, operating=True).to_dicts()[0]
                for c in conditions
            ]
            wanted = []
            for found in rows:
                low, high = round(100 * found["low"]), round(100 * found["high"])
                wanted += [f"{round(100 * found['estimate'])}~%", f"{low} to {high}~%" if low != high else f"{high}~%"]
            assert row.split()[: len(" ".join(wanted).split())] == " ".join(wanted).split()
        lpips = content.aggregate.filter(edit=edit, condition="steered", kind=kind, metric="lpips", operating=True)
        assert f"{lpips['estimate'].item():.3f}" in part
    assert f"{round(100 * estimate(content, edit, 'steered', kinds[0], 'concept_by_labels'))}~%" in shown[:700]
    assert "1.235" in table and "fid_seasons" in table and "lpips_seasons" in table


def test_the_headline_says_what_had_been_hoped_for(report: Path, content: AttentionContent) -> None:
    shown = section(report, "add-winter")
    met = content.comparisons.filter(edit="add-winter", condition="steered", measure="concept by labels")["met"].item()
    words = re.sub(r"\s+", " ", shown.replace(THIN, "~"))
    assert f"Hoped for: at least 90~%. Reached: {'yes' if met else 'no'}" in words
    assert "strength 10 (norm units), places mid, up, guidance branch both, bound norm" in words
    assert "Its goal there, 90~%, was reached." in words


def test_the_grid_shows_the_concept_s_prompts_first_on_one_seed_and_marks_the_operating_point(
    report: Path, content: AttentionContent
) -> None:
    found = grid(content, EditTables.of(content, "erase-cat"))
    assert [row.prompt_id for row in found.rows] == [0, 1, 2, 4, 6]
    assert [row.kind for row in found.rows] == ["contains"] * 3 + ["neighbour", "other"]
    assert {row.seed for row in found.rows} == {3}
    assert [(column.condition, column.strength) for column in found.columns] == [
        ("unsteered", 0), *(("steered", strength) for strength in STRENGTHS), ("random", OPERATING), ("prompt", 0),
        ("negative", 0),
    ]  # fmt: skip
    assert [column.strength for column in found.columns if column.chosen] == [OPERATING]
    for row in found.rows:
        for column, cell in row.cells.items():
            judged = content.images.filter(
                edit="erase-cat", prompt_id=row.prompt_id, seed=3, condition=column.condition, strength=column.strength
            ).to_dicts()[0]
            assert (cell.seen, cell.shows) == (judged["object"], judged["concept_by_labels"])
            changed = [judged[label] for label in ("season", "colour", "place", "time")]
            plain = content.images.filter(edit="erase-cat", prompt_id=row.prompt_id, seed=3, condition="unsteered")
            same = [plain[label].item() for label in ("season", "colour", "place", "time")]
            assert list(cell.changed) == [one for one, other in zip(changed, same, strict=True) if one != other]
    rows = grid(content, EditTables.of(content, "add-winter")).rows
    assert [row.kind for row in rows] == ["outdoor"] * 3 + ["indoor"] and rows[-1].prompt_id == 8


def test_pictures_are_in_the_page_byte_for_byte_and_say_what_is_seen(
    page: HtmlReader, content: AttentionContent
) -> None:
    found = [(str(a["src"]).partition(",")[2], str(a["alt"])) for tag, a in page.elements if tag == "img"]
    table = content.pictures["erase-cat"]
    assert isinstance(table, pl.DataFrame)
    for condition, strength, name in (("unsteered", 0.0, "Unsteered"), ("steered", OPERATING, "Steered at 10")):
        path = table.filter(prompt_id=0, seed=3, condition=condition, strength=strength)["path"].item()
        row = content.images.filter(
            edit="erase-cat", prompt_id=0, seed=3, condition=condition, strength=strength
        ).to_dicts()[0]
        alt = f"{name}: {row['prompt']}, judged {row['object']}"
        assert (base64.b64encode(Path(path).read_bytes()).decode(), alt) in found
    assert sum(tag == "img" for tag, _ in page.elements) == (4 + 5 + 5) * (1 + len(STRENGTHS) + 3)


def test_every_figure_is_a_png_with_its_numbers_beside_it_and_within_the_page(
    report: Path, page: HtmlReader, content: AttentionContent
) -> None:
    links = {a["download"]: str(a["href"]) for tag, a in page.elements if tag == "a" and "download" in a}
    figures = [f"{edit}-{name}" for edit in EDITS for name in ("grid", "strength", "tuning")]
    figures += [f"{concept}-{name}" for concept in ("winter", "cat") for name in ("norms", "cosines")]
    for name in figures:
        with Image.open(report.parent / f"{name}.png") as picture:
            assert picture.format == "PNG" and len(picture.convert("RGB").getcolors(1 << 24) or []) > 20
        data = (report.parent / f"{name}.csv").read_bytes()
        assert base64.b64decode(links[f"{name}.csv"].partition(",")[2]) == data
    curve = pl.read_csv(report.parent / "erase-cat-strength.csv").filter(
        metric="concept_by_labels", condition="steered"
    )
    expected = content.aggregate.filter(
        edit="erase-cat", metric="concept_by_labels", condition="steered", kind="contains"
    )
    assert curve["estimate"].to_list() == pytest.approx(expected["estimate"].to_list(), abs=1e-6)
    norms = pl.read_csv(report.parent / "winter-norms.csv")
    assert norms["norm"].to_list() == content.vectors["winter"]["norm"].to_list()
    assert pl.read_csv(report.parent / "intervals.csv").height == content.aggregate.height
    assert json.loads((report.parent / "chosen.json").read_text()) == content.chosen
    assert "2 of 30 vectors are noise" in page.text


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, report: Path, content: AttentionContent) -> None:
    assert digests(write_attention_report(tmp_path, content).parent) == digests(report.parent)


def test_one_edit_at_one_strength_without_clip_is_enough(tmp_path: Path, make: Make) -> None:
    content = make(edits=("erase-cat",), strengths=(OPERATING,), clip=False, seeds=(5,))
    page = HtmlReader(write_attention_report(tmp_path, content))
    assert "Add winter" not in page.text and "All edits" not in page.text
    assert "by the label classifier" in page.text and "zero-shot CLIP" not in page.text.partition("Questions and")[0]


def test_without_labels_clip_is_the_judge(tmp_path: Path, make: Make) -> None:
    content = make(edits=("replace-cat-by-horse",), labels=False, seeds=(5,), control=False)
    kept = content.aggregate.filter(pl.col("metric") != "concept_by_clip")
    for one, judge in ((content, "by CLIP"), (replace(content, aggregate=kept), "by CLIP's mean probability")):
        page = HtmlReader(write_attention_report(tmp_path / judge[-3:], one))
        rate = estimate(
            one, "replace-cat-by-horse", "steered", "contains", EditTables.of(one, "replace-cat-by-horse").rate
        )
        assert f"{round(100 * rate)}~% of pictures whose prompt names “cat” show “horse”, {judge}" in page.text
        assert "horse 80~%" in page.text and "Norm of each vector, as a share" in page.text
        assert "No vector is marked as noise" in page.text and "too few pairs" in page.text
        assert "classifier" not in page.text.partition("Questions and answers")[0].partition("Pictures")[0]


def test_pictures_may_be_found_by_a_function_and_may_be_missing(tmp_path: Path, make: Make) -> None:
    content = make(edits=("erase-cat",), seeds=(5,))
    table = content.pictures["erase-cat"]
    assert isinstance(table, pl.DataFrame)

    def find(prompt: int, seed: int, condition: str, strength: float) -> Path | None:
        row = table.filter(prompt_id=prompt, seed=seed, condition=condition, strength=strength)
        return Path(row["path"].item()) if condition != "negative" and prompt != 0 else None

    found = grid(replace(content, pictures={"erase-cat": find}), EditTables.of(content, "erase-cat"))
    assert [row.prompt_id for row in found.rows] == [1, 2, 3, 4, 6]
    assert "negative" not in {column.condition for column in found.columns}
    page = HtmlReader(write_attention_report(tmp_path, replace(content, pictures={}, vectors={})))
    assert not any(tag == "img" for tag, _ in page.elements) and "Against the controls" in page.text


def test_many_strengths_are_thinned_but_the_chosen_one_stays(make: Make) -> None:
    content = make(edits=("erase-cat",), strengths=tuple(map(float, range(1, 18))), seeds=(5,))
    shown = [c.strength for c in grid(content, EditTables.of(content, "erase-cat")).columns if c.condition == "steered"]
    assert len(shown) == 6 and OPERATING in shown and shown == sorted(shown) and {1.0, 17.0} <= set(shown)


def test_a_table_without_a_column_and_an_edit_without_scores_are_refused_by_name(content: AttentionContent) -> None:
    with pytest.raises(ValueError, match="table trials of the report lacks the columns kept"):
        replace(content, trials=content.trials.drop("kept"))
    with pytest.raises(ValueError, match="vectors of cat of the report lacks the columns noise"):
        replace(content, vectors={"cat": content.vectors["cat"].drop("noise")})
    with pytest.raises(ValueError, match="nothing on the edit add-fog"):
        replace(content, chosen={"add-fog": content.chosen["add-winter"]})
    with pytest.raises(ValueError, match="operating point of erase-cat lacks strength"):
        replace(content, chosen={"erase-cat": {"action": "erase", "concept": "cat", "places": []}})


def test_names_that_would_share_their_files_are_refused(tmp_path: Path, content: AttentionContent) -> None:
    with pytest.raises(ValueError, match="alike as file names"):
        write_attention_report(tmp_path, replace(content, vectors={"a cat": content.vectors["cat"]} | {
            "A-cat": content.vectors["cat"]
        }))  # fmt: skip
