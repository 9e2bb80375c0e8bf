"""Which files of the FLUX pipeline say all that is offered of a layer's features."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FeatureFiles:
    """Outs of the stages of one layer, and of the pictures that all layers share."""

    images: Path
    pictures: Path
    saes: Path
    facts: Path
    maps: Path
    statistics: Path
    top: Path
    coherence: Path
    labels: Path
    selected: Path
    changes: Path

    @classmethod
    def of_run(cls, flux: Path, name: str) -> FeatureFiles | None:
        """Those under artifacts/flux; None where one of them is not there (yet)."""
        found = cls(
            images=flux / "images" / "images.parquet",
            pictures=flux / "images" / "pictures",
            saes=flux / f"sae-{name}" / "saes",
            facts=flux / f"smatrix-{name}" / "facts.json",
            maps=flux / f"smatrix-{name}" / "maps",
            statistics=flux / f"statistics-{name}" / "statistics.parquet",
            top=flux / f"statistics-{name}" / "top.parquet",
            coherence=flux / f"coherence-{name}" / "coherence.parquet",
            labels=flux / f"labels-{name}" / "labels.parquet",
            selected=flux / f"selection-{name}" / "selected.parquet",
            changes=flux / f"demos-{name}" / "changes.parquet",
        )
        return found if all(getattr(found, field.name).exists() for field in fields(found)) else None
