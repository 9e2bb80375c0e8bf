"""Prompt files: what is wrong with one is said at once, with its line."""

from pathlib import Path

import pytest

from steerwright.errors import UserError, UserErrors
from steerwright.prompts.concept_table import evenly
from steerwright.prompts.suite import ContrastPair, check_disjoint, read_contrast_pairs, read_prompts


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "prompts.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_prompts_are_read_by_id_with_commas_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = _file(tmp_path, b'\xef\xbb\xbfID,prompt\n3,"in a meadow, a red cat"\n1, a boat \n\n')
    assert read_prompts(path) == {3: "in a meadow, a red cat", 1: "a boat"}


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    assert read_prompts(_file(tmp_path, "note,prompt,ID\nx,a boat,0\n")) == {0: "a boat"}


def test_a_missing_column_is_named_with_the_header_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column prompt; its header is ID, text"):
        read_prompts(_file(tmp_path, "ID,text\n0,a boat\n"))


def test_all_bad_rows_are_reported_at_once(tmp_path: Path) -> None:
    path = _file(tmp_path, "ID,prompt\n0,a boat\n0,a cat\nfirst,a car\n2,\n-1,a tent\n,a house\n3,a,b\n1.5,a horse\n")
    with pytest.raises(UserErrors) as caught:
        read_prompts(path)
    lines = [problem.split(":")[0] for problem in caught.value.problems]
    assert lines == ["line 3", "line 4", "line 5", "line 6", "line 7", "line 8", "line 9"]
    assert "already used on line 2" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"ID,prompt\n0,caf\xe9\n", "not UTF-8: byte 15 is 0xe9"), (b"", "is empty"), (b"ID,prompt\n", "no rows")],
)
def test_unreadable_files_say_why(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_prompts(_file(tmp_path, content))


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        read_prompts(tmp_path / "nowhere.csv")


def test_pairs_come_in_order_of_id_and_need_a_contrast(tmp_path: Path) -> None:
    path = _file(tmp_path, "ID,positive,negative\n2,a cat in winter,a cat in summer\n1,snow,sun\n")
    assert [pair.id for pair in read_contrast_pairs(path)] == [1, 2]
    assert read_contrast_pairs(path)[0] == ContrastPair(1, "snow", "sun")
    with pytest.raises(UserErrors, match="ID 4: both sides"):
        read_contrast_pairs(_file(tmp_path, "ID,positive,negative\n4,same,same\n"))


def test_a_prompt_both_tuned_on_and_scored_is_refused() -> None:
    with pytest.raises(UserErrors, match=r"ID 5 of b\.csv"):
        check_disjoint({0: "A red Cat"}, {5: "a red cat"}, Path("a.csv"), Path("b.csv"))
    check_disjoint({0: "a red cat"}, {5: "a blue cat"}, Path("a.csv"), Path("b.csv"))


def test_the_shipped_files_hold_thirty_prompts_and_do_not_overlap() -> None:
    data = Path(__file__).parents[3] / "data" / "winter"
    prompts, tuning = read_prompts(data / "prompts.csv"), read_prompts(data / "tuning.csv")
    assert sorted(prompts) == list(range(30))
    check_disjoint(prompts, tuning, data / "prompts.csv", data / "tuning.csv")
    assert len(read_contrast_pairs(data / "pairs.csv")) == 64


def test_a_few_prompts_are_taken_evenly() -> None:
    # Six of which three: indices 0, 2, 4.
    assert evenly(list("abcdef"), 3) == ["a", "c", "e"]
    assert evenly(list("abc"), 7) == ["a", "b", "c"]
