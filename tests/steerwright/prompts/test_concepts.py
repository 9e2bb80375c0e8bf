"""Concepts: templates, how prompts name them, and what is said of bad ones."""

from pathlib import Path

import pytest

from seasons.label_set import SEASONS_WORLD
from steerwright.errors import UserError, UserErrors
from steerwright.prompts.concepts import Concept, contrast_pairs, parse_concepts, read_list

CONTEXTS = Path(__file__).parents[3] / "data" / "attention" / "contexts"


def concept(**changed: object) -> Concept:
    values = {"text": "snow", "contexts": "list", "words": ["snow"], "label": "season", "value": "winter"}
    return Concept.model_validate(values | changed, context=SEASONS_WORLD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "list.txt").write_text("# a comment\n\na tree\n  a bench \n")
    (tmp_path / "slots.txt").write_text("a photo of {a} {concept} here\n{concept} there\n")
    (tmp_path / "who.txt").write_text("a man\na woman\n")
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "positive", "negative"),
    [
        ({"template": "things"}, ["a tree with snow", "a bench with snow"], ["a tree", "a bench"]),
        (
            {"template": "styles", "text": "cubist"},
            ["a tree, cubist style", "a bench, cubist style"],
            ["a tree", "a bench"],
        ),
        (
            {"template": "things", "against": ["rain", "sun"]},
            ["a tree with snow", "a bench with snow"],
            ["a tree with rain", "a bench with sun"],
        ),
        (
            {"template": "fill", "contexts": "slots", "text": "umbrella", "against": ["cat"]},
            ["a photo of an umbrella here", "umbrella there"],
            ["a photo of a cat here", "cat there"],
        ),
        (
            {"template": "people", "subjects": "who", "text": "smiling"},
            ["a man a tree, smiling", "a man a bench, smiling", "a woman a tree, smiling", "a woman a bench, smiling"],
            ["a man a tree", "a man a bench", "a woman a tree", "a woman a bench"],
        ),
    ],
)
def test_each_template_says_what_it_should(
    folder: Path, changed: dict[str, object], positive: list[str], negative: list[str]
) -> None:
    pairs = contrast_pairs(concept(**changed), folder)
    assert [pair.positive for pair in pairs] == positive
    assert [pair.negative for pair in pairs] == negative
    assert [pair.id for pair in pairs] == list(range(len(pairs)))


def test_a_context_more_leaves_the_other_pairs_as_they_were(folder: Path) -> None:
    some = concept(template="things", against=["rain", "sun", "fog"])
    before = contrast_pairs(some, folder)
    with (folder / "list.txt").open("a") as file:
        file.write("a wall\n")
    assert contrast_pairs(some, folder)[:-1] == before


def test_the_shipped_lists_can_be_read() -> None:
    names = {path.stem for path in CONTEXTS.glob("*.txt")}
    assert {"things", "styles", "people", "subjects", "objects", "seasons"} <= names
    assert len(read_list(CONTEXTS, "people")) * len(read_list(CONTEXTS, "subjects")) == 104
    for name in names:
        lines = read_list(CONTEXTS, name)
        assert len(set(lines)) == len(lines)


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a horse on a street", "contains"),
        ("a Horse and a cat", "contains"),
        ("a cat on a street", "neighbour"),
        ("a seahorse", "other"),
        ("a category", "other"),
    ],
)
def test_prompts_name_a_concept_by_whole_words(prompt: str, kind: str) -> None:
    horse = concept(words=["horse"], neighbours=["cat"], label="object", value="horse")
    assert horse.kind(prompt) == kind


def test_a_word_is_swapped_with_its_article() -> None:
    horse = concept(words=["horse"], label="object", value="horse")
    assert horse.reworded("a horse on a street", "umbrella") == "an umbrella on a street"
    assert horse.reworded("a red horse", "umbrella") == "a red umbrella"
    assert horse.reworded("a car", "umbrella") == "a car"
    assert concept(words=["in the snow", "snow"]).reworded("a car in the snow at night", "") == "a car at night"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"value": "wintr"}, "season 'wintr' does not exist; there are spring, summer, autumn, winter"),
        ({"label": "wether", "value": "x"}, "labels season, object"),
        ({"value": None}, "belong together"),
        ({"label": None, "value": None}, "nothing says how pictures show it"),
        ({"template": "people"}, "subjects are for the template people"),
        ({"words": []}, "words"),
        ({"contxts": "list"}, "contxts"),
    ],
)
def test_a_bad_concept_is_refused_by_its_key(changed: dict[str, object], message: str) -> None:
    values = {"text": "snow", "contexts": "list", "words": ["snow"], "label": "season", "value": "winter"} | changed
    with pytest.raises(UserErrors) as error:
        parse_concepts({"snow": values}, SEASONS_WORLD, "attention.prompts.concepts")
    assert "attention.prompts.concepts.snow" in str(error.value)
    assert message in str(error.value)


def test_names_of_lists_and_concepts_are_no_paths(folder: Path) -> None:
    with pytest.raises(UserError, match="no name of small letters"):
        read_list(folder, "../list")
    with pytest.raises(UserErrors, match="small letters"):
        parse_concepts({"../winter": {}}, SEASONS_WORLD)
    with pytest.raises(UserError, match=r"There is no list 'lost' in .*; there are list, slots, who"):
        read_list(folder, "lost")


def test_fill_needs_a_place_and_something_against(folder: Path) -> None:
    with pytest.raises(UserError, match="against"):
        contrast_pairs(concept(template="fill", contexts="slots"), folder)
    with pytest.raises(UserError, match=r"'a tree' has no \{concept\}"):
        contrast_pairs(concept(template="fill", against=["sun"]), folder)
