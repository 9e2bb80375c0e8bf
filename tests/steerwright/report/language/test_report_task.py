"""The task that writes the page, on files as the stages before it leave them."""

import inspect
import json
from pathlib import Path
from typing import Any

import polars as pl

from steerwright.report.language.content import LanguageContent
from tasks.language.report import write_language_report


def lay(folder: Path, content: LanguageContent) -> dict[str, Any]:
    """The artifacts of the stages; returns the task's arguments by name."""
    frames = {
        "statistics": content.statistics, "cosines": content.cosines, "sweep": content.sweep,
        "mix_sweep": content.mix_sweep, "scored": content.texts, "aggregate": content.aggregate,
        "mixed": content.mixes,
        "prompts": pl.DataFrame({"id": ["t1", "t2", "e1"], "prompt": ["a", "b", "c"],
                                 "split": ["tuning", "tuning", "test"]}),
    }  # fmt: skip
    said = {
        "model": {"spec": {"name": "seasons-lm", "source": "models/seasons-lm"}, "fingerprint": {"digest": "c0ffee"}},
        "pairs": {name: {"factor": factor, "instruction": "", "hypothesis": "", "pairs": [{}] * 12}
                  for name, factor in content.factors.items()},
        "chosen": {name: point for name, point in content.chosen.items() if ":" not in name},
        "chosen_mixes": {name: point for name, point in content.chosen.items() if ":" in name},
    }  # fmt: skip
    (folder / "vectors").mkdir()
    (folder / "vectors" / "happy.safetensors").write_bytes(b"")
    for name, table in frames.items():
        table.write_parquet(folder / f"{name}.parquet")
    for name, values in said.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return (
        {"vectors": folder / "vectors", "report": folder / "report", "metrics": folder / "metrics.json"}
        | {name: folder / f"{name}.parquet" for name in frames}
        | {name: folder / f"{name}.json" for name in said}
    )


def test_the_task_writes_the_page_and_its_numbers(tmp_path: Path, content: LanguageContent) -> None:
    params = {"scorer": "models/seasons-text-labels", "choice": {"perplexity_ratio": 1.5, "distinct": 0.5}}
    arguments = lay(tmp_path, content)
    given: dict[str, Any] = {"params": params, "scorer": params["scorer"], "perplexity_ratio": 1.5, "distinct": 0.5}
    inspect.unwrap(write_language_report)(**arguments, **given)
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    wanted = (
        "Steering a language model", "c0ffee", "the classifier seasons-text-labels", "language.choice.distinct",
        "each with 12 contrast pairs", "1 test prompt", "0.7 happy + 0.3 sad",
    )  # fmt: skip
    for said in wanted:
        assert said in page
    assert json.loads((tmp_path / "metrics.json").read_text())["concepts_as_hoped"] == 4


def test_the_task_gets_by_without_mixes(tmp_path: Path, content: LanguageContent) -> None:
    """What the stages leave then: tables without rows, and of fewer columns."""
    arguments = lay(tmp_path, content)
    for name in ("mixed", "mix_sweep"):
        pl.DataFrame().write_parquet(arguments[name])
    for name in ("sweep", "statistics", "cosines"):
        pl.read_parquet(arguments[name]).head(0).write_parquet(arguments[name])
    arguments["chosen_mixes"].write_text("{}")
    inspect.unwrap(write_language_report)(
        **arguments, params={}, scorer="models/seasons-text-labels", perplexity_ratio=1.5, distinct=0.5
    )
    assert "No concepts were mixed." in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "mixes_" not in (tmp_path / "metrics.json").read_text()
