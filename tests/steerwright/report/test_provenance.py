"""Provenance: hashes that follow contents and names, parameters that can be read."""

import hashlib
from pathlib import Path

from steerwright.report.provenance import file_hashes, flatten, library_versions


def test_a_file_has_its_sha256_and_a_folder_changes_with_contents_and_names(tmp_path: Path) -> None:
    (tmp_path / "m" / "sub").mkdir(parents=True)
    (tmp_path / "m" / "sub" / "a").write_bytes(b"x")
    first = file_hashes({"file": tmp_path / "m" / "sub" / "a", "folder": tmp_path / "m"})
    assert first["file"] == hashlib.sha256(b"x").hexdigest()
    (tmp_path / "m" / "sub" / "a").rename(tmp_path / "m" / "sub" / "b")
    renamed = file_hashes({"folder": tmp_path / "m"})["folder"]
    (tmp_path / "m" / "sub" / "b").write_bytes(b"y")
    assert len({first["folder"], renamed, file_hashes({"folder": tmp_path / "m"})["folder"]}) == 3


def test_parameters_are_dotted_keys() -> None:
    nested = {"a": {"b": [1, 2.5], "c": None, "d": {"e": True}}, "f": "x"}
    assert flatten(nested) == {"a.b": "[1, 2.5]", "a.c": "null", "a.d.e": "true", "f": "x"}


def test_versions_are_those_installed_and_nothing_is_said_of_others() -> None:
    import polars

    found = library_versions(["polars", "no-such-distribution"])
    assert found["polars"] == polars.__version__ and set(found) == {"python", "polars"}
