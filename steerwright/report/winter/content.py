"""What a report is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from steerwright.report.html.sheets import TRIPTYCH, Triptych
from steerwright.report.html.theme import CONDITION_NAMES
from steerwright.report.provenance import RunProvenance
from steerwright.scoring.target import Target, column
from steerwright.scoring.winter import WinterScores


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Everything on the page; `write_report` draws it and reads no other file than the pictures.

    - `title`, `model`: the page's heading, and the steered model's name with a word on what it is.
    - `scores`: of `steerwright.scoring.winter.score_winter`.
    - `pictures`: one row for each picture on the contact sheet, columns `prompt_id`, `seed`, `condition` (`unsteered`,
      `fixed`, `adaptive`) and `path` (a PNG). Where a prompt has several seeds, its smallest common one is shown.
    - `prompts`: `prompt_id`, `prompt`, `resistance`.
    - `search`: one row for each trial: `layers` (text such as `0, 6, 7, 8`), `strength` (at all of them; null where
      they differ, and `strengths` says them, as `0.4, 0.25, 0.5, 1`), `score` (the objective, larger is better), `kind`
      (`grid` rows make the heatmap, others are listed below it), `chosen` (true for one row); further columns are shown
      in the table as they are. `search_objective` says in a few words what `score` is; `perceptual`
      is the name of the perceptual score (`Perceptual.name`).
    - `activations`: `layer` (whole number), `tokens` (`content`, `eos`, `padding`, `all`, ...: one line each) and
      `difference` (norm of the mean difference of positive and negative activations, in the model's own units).
    - `doses`: `prompt_id`, `multiplier` (of the fixed strength), `reason` (a few words for people).
    - `provenance`: see `Provenance`; `explanations` are further paragraphs, heading -> text, at the end of the page.
    """

    title: str
    model: str
    scores: WinterScores
    pictures: pl.DataFrame
    prompts: pl.DataFrame
    search: pl.DataFrame
    activations: pl.DataFrame
    doses: pl.DataFrame
    provenance: RunProvenance
    search_objective: str = "score"
    perceptual: str = "lpips"
    explanations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted: dict[str, tuple[str, ...]] = {
            "pictures": ("prompt_id", "seed", "condition", "path"),
            "prompts": ("prompt_id", "prompt", "resistance"),
            "search": ("layers", "strength", "score", "kind", "chosen"),
            "activations": ("layer", "tokens", "difference"),
            "doses": ("prompt_id", "multiplier", "reason"),
        }
        for name, columns in wanted.items():
            table: pl.DataFrame = getattr(self, name)
            missing = [column for column in columns if column not in table.columns]
            if missing:
                raise ValueError(f"The table {name} of the report lacks the columns {', '.join(missing)}.")

    @property
    def conditions(self) -> dict[str, str]:
        """What conditions are called on this page."""
        return CONDITION_NAMES | {"prompt": f"“{self.scores.target.added_words}”"}


def triptychs(content: ReportContent) -> list[Triptych]:
    """The contact sheet's rows in the order of the prompts. A prompt without all three on one seed is left out."""
    pictures: dict[tuple[int, int], dict[str, Path]] = {}
    for row in content.pictures.iter_rows(named=True):
        pictures.setdefault((row["prompt_id"], row["seed"]), {})[row["condition"]] = Path(row["path"])
    target = content.scores.target
    judged: dict[tuple[Any, ...], tuple[str, bool]] = {
        (row["prompt_id"], row["seed"], row["condition"]): (_seen(target, row), bool(row[target.key]))
        for row in content.scores.images.iter_rows(named=True)
    }
    sheet = []
    for row in content.prompts.iter_rows(named=True):
        number = row["prompt_id"]
        seeds = [seed for key, seed in sorted(pictures) if key == number and set(TRIPTYCH) <= set(pictures[key, seed])]
        if not seeds:
            continue
        seed = seeds[0]
        each = {condition: judged.get((number, seed, condition), ("", False)) for condition in TRIPTYCH}
        paths = {condition: pictures[number, seed][condition] for condition in TRIPTYCH}
        seen = {condition: found for condition, (found, _) in each.items()}
        reached = {condition: found for condition, (_, found) in each.items()}
        sheet.append(Triptych(number, row["prompt"], row["resistance"], seed, paths, seen, reached))
    return sheet


def _seen(target: Target, row: dict[str, Any]) -> str:
    """What a picture shows of what is steered: the values of the labels, or whether it shows the concept."""
    values = [
        row[concept.label] if concept.label else name if row[column(name)] else f"no {name}"
        for name, concept in target.concepts.items()
    ]
    return ", ".join(values)
