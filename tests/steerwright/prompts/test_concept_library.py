"""Concept libraries: what is read, and every mistake that is named."""

from pathlib import Path

import pytest

from steerwright.errors import UserError, UserErrors
from steerwright.prompts.concept_library import (
    AnswerPair,
    check_held_out,
    chosen_concepts,
    read_libraries,
    read_library,
)

HAPPY = """
happy:
  factor: emotion
  instruction: Answer in a happy tone.
  hypothesis: This text sounds happy.
  pairs:
    - {prompt: Tell me about the lake., positive: The lake is a joy!, negative: The lake is deep.}
    - {prompt: Describe the market., positive: What a lovely market!, negative: The market is old.}
"""
CALM = HAPPY.replace("happy", "calm")


def written(folder: Path, text: str, name: str = "concepts.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_concept_has_its_pairs_in_order_and_asks_after_the_prompt(tmp_path: Path) -> None:
    library = read_library(written(tmp_path, HAPPY + CALM))
    assert list(library) == ["happy", "calm"]
    happy = library["happy"]
    assert (happy.name, happy.factor) == ("happy", "emotion")
    assert happy.pairs[1] == AnswerPair(
        prompt="Describe the market.", positive="What a lovely market!", negative="The market is old."
    )
    assert happy.asked("Tell me about bread.") == "Tell me about bread. Answer in a happy tone."


def test_every_problem_of_a_file_is_listed_at_once(tmp_path: Path) -> None:
    text = """
Happy: {factor: emotion}
sad: {factor: emotion, instruction: Be sad., hypothesis: Sad., pairs: [{prompt: A, positive: B, negative: B}]}
calm: 7
formal:
  factor: style
  instruction: ''
  hypothesis: Formal.
  mood: none
  pairs: [{prompt: A, positive: B, negative: C}, {prompt: A, positive: B, negative: C}]
"""
    with pytest.raises(UserErrors) as caught:
        read_library(written(tmp_path, text))
    said = "\n".join(caught.value.problems)
    for part in (
        "Happy: a name",
        "calm: it must be",
        "sad.pairs.0",
        "no contrast",
        "formal.instruction",
        "formal.mood",
    ):
        assert part in said
    same = HAPPY.replace("Describe the market.", "Tell me about the lake.").replace(
        "What a lovely market!", "The lake is a joy!"
    )
    with pytest.raises(UserErrors, match="pairs 0 and 1 are the same"):
        read_library(written(tmp_path, same.replace("The market is old.", "The lake is deep.")))
    with pytest.raises(UserErrors, match=r"happy\.pairs"):
        read_library(written(tmp_path, HAPPY.split("    - {prompt: Describe")[0]))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds nothing"), ("- happy", "holds a list"), ("a: [", "is no YAML"), (HAPPY + HAPPY, "twice")],
)
def test_a_file_that_is_no_library_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_library(written(tmp_path, text))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no concept library"):
        read_library(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a folder"):
        read_library(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"h\xe4ppy: 1")
    with pytest.raises(UserError, match="not UTF-8"):
        read_library(tmp_path / "latin.yaml")


def test_several_files_are_one_library_unless_they_share_a_name(tmp_path: Path) -> None:
    first, second = written(tmp_path, HAPPY, "a.yaml"), written(tmp_path, CALM, "b.yaml")
    assert list(read_libraries([first, second])) == ["happy", "calm"]
    with pytest.raises(UserErrors, match=r"happy: it is in a.yaml and in c.yaml"):
        read_libraries([first, second, written(tmp_path, HAPPY, "c.yaml")])


def test_concepts_are_chosen_by_name_in_the_order_of_the_library(tmp_path: Path) -> None:
    library = read_library(written(tmp_path, HAPPY + CALM))
    assert list(chosen_concepts(library, "all")) == ["happy", "calm"]
    assert list(chosen_concepts(library, ["calm", "happy"])) == ["happy", "calm"]
    assert list(chosen_concepts(library, ["calm"])) == ["calm"]
    for names, said in ((["clam"], "no concept clam"), ([], "empty list"), ("calm", "write all")):
        with pytest.raises(UserError, match=said):
            chosen_concepts(library, names)


def test_a_pair_that_answers_a_held_out_prompt_is_named_whatever_its_case(tmp_path: Path) -> None:
    library = read_library(written(tmp_path, HAPPY))
    check_held_out(library, {"test-1": "Tell me about ships."})
    with pytest.raises(UserErrors, match=r"happy, pair 1: 'Describe the market.' is prompt test-4"):
        check_held_out(library, {"test-1": "Tell me about ships.", "test-4": "describe the MARKET."})


def test_pairs_of_texts_that_answer_nothing_need_no_request(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "joyful:\n  factor: emotion\n  instruction: Be joyful.\n  hypothesis: This text is joyful.\n  pairs:\n"
        "    - {positive: I feel joyful, negative: I feel neutral}\n"
        "    - {positive: What a joy, negative: It is a day}\n"
    )
    library = read_library(tmp_path / "mine.yaml")
    assert [pair.prompt for pair in library["joyful"].pairs] == [None, None]
    check_held_out(library, {"test-0": "Tell me about the lake."})
