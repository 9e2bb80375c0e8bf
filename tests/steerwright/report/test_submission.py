"""Submissions: the round trip gives identical bytes, and no row can do harm."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from steerwright.cli.app import submission
from steerwright.errors import UserError, UserErrors
from steerwright.report.submission import Columns, decode_submission, encode_submission, pictures_of


def png(colour: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (5, 4), (colour, 10, 20)).save(out, "PNG", compress_level=colour % 10)
    return out.getvalue()


def folder_of(path: Path, count: int) -> dict[str, bytes]:
    path.mkdir()
    contents = {str(i): png(i) for i in range(count)}
    for name, content in contents.items():
        (path / f"{name}.png").write_bytes(content)
    return contents


def row_file(path: Path, *rows: tuple[str, bytes], header: str = "id,image") -> Path:
    lines = [header, *(f"{name},{base64.b64encode(content).decode()}" for name, content in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_round_trip_gives_identical_bytes_and_numbers_are_in_order(tmp_path: Path) -> None:
    contents = folder_of(tmp_path / "in", 12)
    encode_submission(pictures_of(tmp_path / "in"), tmp_path / "s.csv")
    assert [line.split(",")[0] for line in (tmp_path / "s.csv").read_text().splitlines()] == [
        "id",
        *map(str, range(12)),
    ]
    decode_submission(tmp_path / "s.csv", tmp_path / "out")
    assert {path.stem: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents


def test_the_header_of_seed_002_is_read_without_naming_its_columns(tmp_path: Path) -> None:
    contents = folder_of(tmp_path / "in", 2)
    encode_submission(pictures_of(tmp_path / "in"), tmp_path / "s.csv", Columns("id", "0"))
    assert (tmp_path / "s.csv").read_text().startswith("id,0\n")
    decode_submission(tmp_path / "s.csv", tmp_path / "out")
    assert (tmp_path / "out" / "1.png").read_bytes() == contents["1"]


def test_three_columns_need_their_names(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("key,score,picture\n7,0.5," + base64.b64encode(png(7)).decode() + "\n")
    with pytest.raises(UserError, match="no column id and no column image; its header is key, score, picture"):
        decode_submission(path, tmp_path / "out")
    decode_submission(path, tmp_path / "out", Columns("key", "picture"))
    assert (tmp_path / "out" / "7.png").read_bytes() == png(7)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/b", "..", ".hidden", "C:evil", "nul", "NUL.x", "", "a\\b", "tail.", "x" * 101]
)
def test_an_id_that_is_no_plain_name_writes_nothing(tmp_path: Path, name: str) -> None:
    path = row_file(tmp_path / "s.csv", ("good", png(1)), (name, png(2)))
    with pytest.raises(UserErrors, match="row 2") as caught:
        decode_submission(path, tmp_path / "out")
    assert len(caught.value.problems) == 1
    assert [p.name for p in tmp_path.rglob("*")] == ["s.csv"]


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    torn = png(3)[:-20]
    path = row_file(tmp_path / "s.csv", ("0", b"GIF89a......"), ("1", torn), ("2", png(2)), ("2", png(2)))
    starred = base64.b64encode(png(2)).decode().replace("i", "i****", 1)  # whole, for a reader that skips the stars
    path.write_text(path.read_text() + f"4,{starred}\n5,a,b\n")
    with pytest.raises(UserErrors) as caught:
        decode_submission(path, tmp_path / "out")
    expected = ["row 1 (id '0'): the picture is not a PNG", "row 2 (id '1'): the picture is a damaged PNG",
                "row 4 (id '2'): the id was already used in row 3", "row 5 (id '4'): the picture is not base64",
                "row 6: 3 cells where the header has 2"]  # fmt: skip
    assert len(caught.value.problems) == len(expected)
    for problem, start in zip(caught.value.problems, expected, strict=True):
        assert problem.startswith(start)
    assert not (tmp_path / "out").exists()


def test_pictures_in_the_way_are_kept_unless_forced(tmp_path: Path) -> None:
    path = row_file(tmp_path / "s.csv", ("0", png(1)), ("1", png(2)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"already holds 1\.png.*--force"):
        decode_submission(path, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["1.png"]
    decode_submission(path, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "1.png").read_bytes() == png(2)


def test_forcing_replaces_a_link_and_not_what_it_points_at(tmp_path: Path) -> None:
    path = row_file(tmp_path / "s.csv", ("0", png(1)))
    (tmp_path / "precious").write_bytes(b"keep")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0.png").symlink_to(tmp_path / "precious")
    decode_submission(path, tmp_path / "out", overwrite=True)
    assert (tmp_path / "precious").read_bytes() == b"keep"


def test_a_write_that_fails_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = row_file(tmp_path / "s.csv", ("0", png(1)))

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"0\.png cannot be written: No space left on device"):
        decode_submission(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"id,image\n", "has a header and no rows"), (b"\xff\xfe\x00", "not UTF-8"),
     (b'id,image\n0,"open\n', "not a CSV file")],
)  # fmt: skip
def test_files_that_are_no_submission_say_so(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        decode_submission(tmp_path / "s.csv", tmp_path / "out")


def test_broken_lines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    body = base64.encodebytes(png(9)).decode()
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbf" + f'id,image\r\n9,"{body}"\r\n'.encode())
    decode_submission(tmp_path / "s.csv", tmp_path / "out")
    assert (tmp_path / "out" / "9.png").read_bytes() == png(9)


def test_what_is_not_a_png_is_not_encoded(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 1)
    (tmp_path / "in" / "x.png").write_bytes(b"text")
    with pytest.raises(UserErrors, match=r"x\.png: the picture is not a PNG"):
        encode_submission(pictures_of(tmp_path / "in"), tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


def test_a_name_that_could_not_be_decoded_is_not_encoded(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(png(1))
    with pytest.raises(UserErrors, match=r"a b\.png: an id is"):
        encode_submission(pictures_of(tmp_path), tmp_path / "s.csv")


def test_both_commands_do_the_round_trip_and_refuse_to_overwrite(tmp_path: Path) -> None:
    contents = folder_of(tmp_path / "in", 3)
    run = CliRunner().invoke
    csv, out = str(tmp_path / "s.csv"), str(tmp_path / "out")
    assert run(submission, ["encode", str(tmp_path / "in"), "-o", csv, "--image-column", "0"]).exit_code == 0
    assert isinstance(run(submission, ["encode", str(tmp_path / "in"), "-o", csv]).exception, UserError)
    result = run(submission, ["decode", csv, "-o", out])
    assert result.exit_code == 0 and "3 pictures" in result.output
    assert {p.stem: p.read_bytes() for p in Path(out).iterdir()} == contents
    assert isinstance(run(submission, ["decode", csv, "-o", out]).exception, UserError)
    assert run(submission, ["decode", csv, "-o", out, "--force"]).exit_code == 0
