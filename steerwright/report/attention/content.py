"""What the report of attention edits is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import polars.selectors as cs

from steerwright.report.provenance import RunProvenance

if TYPE_CHECKING:
    from steerwright.prompts.label_set import LabelSet

FindPicture = Callable[[Any, int, str, float], Path | None]
CONTROLS = ("random", "prompt", "negative")
CONDITIONS = ("unsteered", "steered", *CONTROLS)
# Condition -> the theme's colour that it is drawn in.
COLOURS = {
    "unsteered": "unsteered", "steered": "adaptive", "random": "random", "prompt": "prompt", "negative": "fixed",
}  # fmt: skip
CONDITION_NAMES = {
    "unsteered": "Unsteered", "steered": "Steered", "random": "Random", "prompt": "In words",
    "negative": "Negative prompt",
}  # fmt: skip
COLUMNS: dict[str, tuple[str, ...]] = {
    "images": (
        "edit", "action", "concept", "prompt_id", "prompt", "seed", "kind", "condition", "strength", "operating",
        "setting", "concept_by_labels", "concept_by_clip", "concept_probability", "lpips", "others_kept",
    ),
    "aggregate": (
        "edit", "condition", "strength", "operating", "kind", "metric", "estimate", "low", "high", "prompts", "images",
    ),
    "comparisons": (
        "edit", "question", "measure", "kind", "condition", "estimate", "low", "high", "bar", "met",
    ),
    "trials": ("edit", "places", "strength", "wanted", "kept", "chosen"),
}  # fmt: skip
PICTURE_COLUMNS = ("prompt_id", "seed", "condition", "strength", "path")
VECTOR_COLUMNS = (
    "block", "place", "step_first", "step_last", "branch", "norm", "control", "noise", "cosine_next", "cosine_mean",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AttentionContent:
    """Everything on the page; `write_attention_report` draws it and reads no other file than the pictures.

    - `title`, `model`: the page's heading, and the steered model's name with a word on what it is.
    - `images`, `aggregate`, `comparisons`, `trials`: the tables of the attention pipeline (docs/formats.md). Edits are
      shown in the order of `chosen`. Label columns may be null or absent where no label classifier applies, CLIP
      columns null where no CLIP does.
    - `chosen`: edit -> `action` (add, erase, replace), `concept`, `target`, `places`, `strength`, and what else is
      to be said of its operating point: `branch`, `units`, `bound`, `gate`, `goal`, `reached`.
    - `pictures`: edit -> a table of `prompt_id`, `seed`, `condition`, `strength`, `path`, or a function of the first
      four that gives the path, or None. An edit without pictures has no grid.
    - `vectors`: concept -> one row per vector: `block`, `place`, `step_first`, `step_last`, `branch`, `norm`, `control`
      (the noise level, null where unknown), `noise`, `cosine_next`, `cosine_mean`; `attention` (self, cross) if both.
    - `labels`: those that pictures are judged by.
    - `perceptual`, `fid_name`: the names of these scores (`Perceptual.name`, `FidFeatures.name`).
    - `explanations`: further paragraphs, heading -> text, at the end of the page.
    """

    title: str
    model: str
    images: pl.DataFrame
    aggregate: pl.DataFrame
    comparisons: pl.DataFrame
    chosen: Mapping[str, Mapping[str, Any]]
    trials: pl.DataFrame
    pictures: Mapping[str, FindPicture | pl.DataFrame]
    vectors: Mapping[str, pl.DataFrame]
    provenance: RunProvenance
    labels: LabelSet
    perceptual: str = "lpips"
    fid_name: str = "fid"
    explanations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.chosen:
            raise ValueError("A report of attention edits needs at least one edit.")
        for name, columns in COLUMNS.items():
            _has(getattr(self, name), columns, f"table {name}")
        for concept, table in self.vectors.items():
            _has(table, VECTOR_COLUMNS, f"vectors of {concept}")
        for edit, source in self.pictures.items():
            if isinstance(source, pl.DataFrame):
                _has(source, PICTURE_COLUMNS, f"pictures of {edit}")
        for edit in self.chosen:
            lacking = {"action", "concept", "places", "strength"} - set(self.chosen[edit])
            if lacking:
                raise ValueError(f"The operating point of {edit} lacks {', '.join(sorted(lacking))}.")
            if self.aggregate.filter(edit=edit).height == 0:
                raise ValueError(f"The table aggregate of the report holds nothing on the edit {edit}.")


@dataclass(frozen=True, slots=True)
class EditTables:
    """One edit: its operating point, and its part of the aggregate by what one asks for."""

    name: str
    point: Mapping[str, Any]
    rows: pl.DataFrame
    kinds: tuple[str, ...]
    labels: LabelSet

    @classmethod
    def of(cls, content: AttentionContent, edit: str) -> EditTables:
        """The scores of `edit`."""
        rows = content.aggregate.filter(edit=edit).with_columns(cs.float().fill_nan(None))
        present = set(rows["kind"].to_list())
        kinds = ("outdoor", "indoor", "contains", "neighbour", "other", "without", "all")
        return cls(edit, content.chosen[edit], rows, tuple(kind for kind in kinds if kind in present), content.labels)

    @property
    def action(self) -> str:
        return str(self.point["action"])

    @property
    def concept(self) -> str:
        return str(self.point["concept"]).replace("-", " ")

    @property
    def wanted(self) -> str:
        """What pictures are judged to show: for replace the target."""
        return str(self.point.get("target") or self.concept).replace("-", " ")

    @property
    def title(self) -> str:
        """`Replace cat by horse`."""
        by = f" by {self.wanted}" if self.action == "replace" else ""
        return f"{self.action.capitalize()} {self.concept}{by}"

    @property
    def measured(self) -> str:
        """The prompts on which it must act: those that name the concept, or outdoors for add; else all there are."""
        kind = "outdoor" if self.action == "add" else "contains"
        return kind if kind in self.kinds else self.kinds[-1]

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The kinds of prompts on which it must change nothing; none for add."""
        return () if self.action == "add" else tuple(kind for kind in ("neighbour", "other") if kind in self.kinds)

    @property
    def away(self) -> str | None:
        """All prompts on which it must change nothing together, as far as they were counted together; None for add."""
        together = [kind for kind in ("without", "other", "neighbour") if kind in self.kinds]
        return together[0] if together and self.action != "add" else None

    @property
    def rate(self) -> str:
        """The metric that says how many pictures show what is wanted: by labels, else by CLIP, else its probability."""
        for metric in ("concept_by_labels", "concept_by_clip"):
            if self.at("steered", self.measured, metric):
                return metric
        return "concept_probability"

    def at(self, condition: str, kind: str, metric: str) -> dict[str, Any] | None:
        """The row at the operating point, None if there is none or it has no estimate."""
        rows = self.rows.filter(condition=condition, kind=kind, metric=metric, operating=True).to_dicts()
        return rows[0] if rows and rows[0]["estimate"] is not None else None

    def curve(self, kind: str, metric: str) -> list[dict[str, Any]]:
        """Rows over strength, the unsteered one first, at 0."""
        part = self.rows.filter(
            pl.col("condition").is_in(["unsteered", "steered"]), pl.col("estimate").is_not_null(),
            kind=kind, metric=metric,
        )  # fmt: skip
        return part.sort("strength").to_dicts()


def _has(table: pl.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"The {what} of the report lacks the columns {', '.join(missing)}.")
