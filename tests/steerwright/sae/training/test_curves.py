"""Curves of training: DVCLive's files, and back."""

import math
from pathlib import Path

import pytest

from steerwright.sae.training.curves import Curves, read_curves


def some() -> Curves:
    curves = Curves()
    curves.add("mid", 10, {"fvu": 0.5, "l0": 32.0})
    curves.add("mid", 20, {"fvu": 0.25, "l0": 31.5})
    curves.add("up", 10, {"fvu": 1 / 3, "l0": math.nan})
    return curves


def test_a_file_holds_what_dvclive_writes_of_a_metric(tmp_path: Path) -> None:
    """`Live.log_metric("mid/fvu", ...)` of dvclive 3.49 with steps 10 and 20 writes these bytes."""
    some().write(tmp_path)
    assert (tmp_path / "mid" / "fvu.tsv").read_bytes() == b"step\tfvu\n10\t0.5\n20\t0.25\n"
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")) == [
        "mid/fvu.tsv", "mid/l0.tsv", "up/fvu.tsv", "up/l0.tsv",
    ]  # fmt: skip


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    some().write(tmp_path)
    found = read_curves(tmp_path)
    assert found.columns == ["sae", "step", "fvu", "l0"]
    assert found.rows() == [("mid", 10, 0.5, 32.0), ("mid", 20, 0.25, 31.5), ("up", 10, 0.333333333, None)]
    assert read_curves(tmp_path / "absent").height == 0


def test_writing_again_replaces_what_was_there(tmp_path: Path) -> None:
    some().write(tmp_path)
    longer = some()
    longer.add("mid", 30, {"fvu": 0.125, "l0": 30.0})
    longer.write(tmp_path)
    assert (tmp_path / "mid" / "fvu.tsv").read_text().split() == [
        "step",
        "fvu",
        "10",
        "0.5",
        "20",
        "0.25",
        "30",
        "0.125",
    ]
    assert not list(tmp_path.rglob(".*"))


def test_points_go_on_from_a_checkpoint() -> None:
    curves = some()
    again = Curves(curves.points)
    again.add("mid", 30, {"fvu": 0.1, "l0": 1.0})
    assert len(again.points["mid"]) == 3 and len(curves.points["mid"]) == 2


def test_steps_only_go_forward() -> None:
    with pytest.raises(ValueError, match="step 20 of mid does not follow 20"):
        some().add("mid", 20, {"fvu": 1.0, "l0": 1.0})
