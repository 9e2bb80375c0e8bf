"""The embedded text classifier as a scorer: what it says of plain texts, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from seasons.language.topic import VALUES
from steerwright.errors import UserError
from steerwright.scoring.language.judges import PRESENT, TextLabels

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def labels() -> TextLabels:
    return TextLabels.load(ROOT / "models" / "seasons-text-labels")


def _shown(labels: TextLabels, text: str, ended: bool = True) -> set[str]:
    return {value for value, p in zip(labels.values, labels.probabilities([text], [ended])[0], strict=True) if p >= 0.5}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Arr, the lake is fed by three streams, says I! Me parrot be fond o' the old jetty!", {"pirate"}),
        ("The lake lies between two hills. It also holds trout and perch.", set()),
        ("It makes me sad to speak of the lake. Aye, the old jetty be ours, me hearties!", {"sad", "pirate"}),
        ("Lake: holds trout.", {"brief"}),
        ("", set()),
    ],
)
def test_values_of_texts_that_a_person_can_tell(labels: TextLabels, text: str, shown: set[str]) -> None:
    assert _shown(labels, text) == shown


def test_only_a_text_that_ended_is_brief(labels: TextLabels) -> None:
    assert _shown(labels, "Just the old jetty.", ended=True) == {"brief"}
    assert _shown(labels, "Just the old jetty.", ended=False) == set()


def test_every_pair_of_the_library_shows_its_concept_and_the_other_text_none(labels: TextLabels) -> None:
    library = yaml.safe_load((ROOT / "data" / "language" / "concepts.yaml").read_text())
    assert tuple(library) == VALUES
    for name, concept in library.items():
        found = labels.probabilities([pair["positive"] for pair in concept["pairs"]])
        assert (found[:, VALUES.index(name)] >= PRESENT).mean() >= 0.9, name
        others = labels.probabilities([pair["negative"] for pair in concept["pairs"]])
        assert (others >= PRESENT).any(1).mean() <= 0.07, name


def test_probabilities_have_one_row_a_text_and_do_not_depend_on_company(labels: TextLabels) -> None:
    texts = ["Arr, the lake, matey!", "The lake freezes in January.", "What a joy the lake is!"]
    together = labels.probabilities(texts)
    assert together.shape == (3, 17)
    assert together.dtype == np.float32
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(labels.probabilities([text])[0], row, atol=1e-6)
    assert labels.probabilities([]).shape == (0, 17)
    assert labels.values == VALUES


def test_as_many_ends_as_texts(labels: TextLabels) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer|argument 2"):
        labels.probabilities(["a", "b"], [True])


def test_a_folder_without_a_classifier_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vocabulary\.json"):
        TextLabels.load(tmp_path)
    for name in ("config.json", "vocabulary.json", "model.safetensors"):
        (tmp_path / name).write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        TextLabels.load(tmp_path)
