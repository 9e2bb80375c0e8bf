"""Tables as Prefect shows them: few rows, numbers that can be read, and words for what was left out."""

from pathlib import Path

import polars as pl

from steerwright.dag.outcome import OutputRecord
from steerwright.dag.prefect.artifacts import COLUMNS, ROWS, find_tables, table_rows


def test_the_first_rows_are_shown_and_the_rest_is_counted(tmp_path: Path) -> None:
    frame = pl.DataFrame({
        "latent": range(100), "z": [1 / 3] * 100, "why": ["x" * 200] * 100, "images": [[1, 2, 3]] * 100,
        "none": [None] * 99 + [float("inf")], "on": [True] * 100,
    })  # fmt: skip
    frame.write_parquet(tmp_path / "a.parquet")
    rows, said = table_rows(tmp_path / "a.parquet")
    assert len(rows) == ROWS == 40 and said == "the first 40 of 100 rows"
    assert rows[7] == {"latent": 7, "z": 0.3333, "why": "x" * 79 + "…", "images": "1, 2, 3", "none": "", "on": True}
    frame.tail(1).write_parquet(tmp_path / "b.parquet")
    rows, said = table_rows(tmp_path / "b.parquet")
    assert rows[0]["none"] == "inf" and said == "1 row"


def test_a_wide_table_is_cut_and_says_so(tmp_path: Path) -> None:
    pl.DataFrame({f"c{number}": [1] for number in range(30)}).write_parquet(tmp_path / "wide.parquet")
    rows, said = table_rows(tmp_path / "wide.parquet")
    assert len(rows[0]) == COLUMNS == 24 and said.endswith("the first 24 of 30 columns")


def test_only_parquet_files_that_are_there_are_tables(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.json").write_text("{}")
    outputs = [OutputRecord(path=name, md5=None, size=1, files=1) for name in ("a.parquet", "b.json", "gone.parquet")]
    assert find_tables(tmp_path, outputs) == {"a": tmp_path / "a.parquet"}
