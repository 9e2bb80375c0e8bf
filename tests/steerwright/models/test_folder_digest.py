"""Digests of folders: what is behind links counts, what changes nothing does not."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from steerwright.errors import UserError
from steerwright.models.folder_digest import content_digest, files_below, stat_signature


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def linked(tmp_path: Path) -> list[Path]:
    """Two folders, equal but that `unet` is a link to a folder `a` in one and `b` in the other."""
    folders = []
    for name in "ab":
        _write(tmp_path / name / "weights.bin", name)
        folder = tmp_path / f"pipeline-{name}"
        _write(folder / "index.json", "{}")
        (folder / "unet").symlink_to(Path("..") / name)
        folders.append(folder)
    return folders


def test_what_is_behind_a_linked_folder_counts(linked: list[Path]) -> None:
    first, second = linked
    assert [name for name, _ in files_below(first)] == ["index.json", "unet/weights.bin"]
    assert content_digest(first) != content_digest(second)
    assert stat_signature(first) != stat_signature(second)


def test_a_link_and_a_copy_have_one_content(tmp_path: Path, linked: list[Path]) -> None:
    copy = tmp_path / "copy"
    _write(copy / "index.json", "{}")
    _write(copy / "unet" / "weights.bin", "a")
    assert content_digest(copy) == content_digest(linked[0])


def test_the_digest_is_over_names_and_contents(tmp_path: Path) -> None:
    _write(tmp_path / "f" / "b.txt", "two")
    _write(tmp_path / "f" / "a" / "c.txt", "one")
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))
    assert content_digest(tmp_path / "f") == hashlib.sha256(f"a/c.txt\0{one}\nb.txt\0{two}\n".encode()).hexdigest()
    assert content_digest(tmp_path / "f" / "b.txt") == two


def test_the_signature_sees_a_change_behind_a_link(tmp_path: Path, linked: list[Path]) -> None:
    before = stat_signature(linked[0])
    assert stat_signature(linked[0]) == before
    weights = tmp_path / "a" / "weights.bin"
    weights.write_text("z")
    os.utime(weights, ns=(1, 1))
    assert stat_signature(linked[0]) != before


def test_cycles_end(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    _write(folder / "inner" / "x.txt", "x")
    (folder / "inner" / "up").symlink_to("..")
    (folder / "self").symlink_to(folder)
    assert [name for name, _ in files_below(folder)] == ["inner/x.txt"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / ".hidden-root"
    _write(folder / "x.txt", "x")
    _write(folder / ".gitattributes", "y")
    _write(folder / ".cache" / "z.txt", "z")
    assert [name for name, _ in files_below(folder)] == ["x.txt"]


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "unet").symlink_to("../gone")
    with pytest.raises(UserError, match=r"unet -> \.\./gone leads nowhere"):
        content_digest(tmp_path)
    with pytest.raises(UserError, match="missing cannot be read"):
        stat_signature(tmp_path / "missing")


def test_a_file_that_was_written_and_given_its_times_back_has_another_signature(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"one")
    before, stamp = stat_signature(tmp_path), file.stat()
    time.sleep(0.02)  # the file system's clock
    file.write_bytes(b"two")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert file.stat().st_mtime_ns == stamp.st_mtime_ns and stat_signature(tmp_path) != before
