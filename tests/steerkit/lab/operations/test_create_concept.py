import json
import math
from pathlib import Path

import numpy as np
import pytest

from steerkit.errors import UserError, UserErrors
from steerkit.lab.operations.create_concept import checked_pairs, create_concept
from steerkit.lab.workbench import Workbench
from steerkit.models.language.encode import encode_texts

PAIRS = [
    ["Tell me about the lake.", "the lake is cold and full of ice", "the lake is wide"],
    ["Tell me about the boat.", "snow lies on the boat", "the boat lies by the market"],
    ["Tell me about the stone.", "the stone is white with frost", "the stone is in the garden"],
    ["Tell me about the house.", "ice covers the house", "the house is old"],
]


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def _raw(workbench: Workbench, policy: str, layer: int) -> np.ndarray:
    """The mean difference, by transformers' hidden states of one text at a time."""
    model = workbench.language()
    sides = []
    for column in (1, 2):
        rows = []
        for pair in PAIRS:
            encoded = encode_texts(model, [pair[column]], [pair[0]])
            states = model.model(encoded.ids, output_hidden_states=True).hidden_states[layer + 1][0].detach().double()
            rows.append((states[-1] if policy == "last" else states[encoded.content[0]].mean(0)).numpy())
        sides.append(np.mean(rows, axis=0))
    return np.asarray(sides[0] - sides[1])


@pytest.mark.parametrize("policy", ["content", "last"])
def test_statistics_are_those_of_the_raw_mean_difference(workbench: Workbench, policy: str) -> None:
    made = create_concept(workbench, "wintry", PAIRS, policy)
    assert [one.layer for one in made.statistics] == [0, 1, 2, 3]
    one = made.statistics[1]
    raw = _raw(workbench, policy, 1)
    assert one.norm == pytest.approx(np.linalg.norm(raw), rel=1e-4)
    assert (one.mean, one.std) == (pytest.approx(raw.mean(), abs=1e-5), pytest.approx(raw.std(), rel=1e-4))
    assert (one.least, one.most) == (pytest.approx(raw.min(), rel=1e-4), pytest.approx(raw.max(), rel=1e-4))
    assert one.small == pytest.approx(np.mean(np.abs(raw) < 0.01))
    assert list(one.largest) == np.argsort(-np.abs(raw))[:5].tolist()
    assert 0 <= one.auroc <= 1


def test_the_concept_is_at_once_in_the_list_and_on_disk(workbench: Workbench, lab_project: Path) -> None:
    before = workbench.revision
    made = create_concept(workbench, "wintry", PAIRS)
    assert workbench.concept("wintry") is made.entry
    assert workbench.revision > before
    assert _files(lab_project / "lab") == {"wintry.json", "wintry.safetensors"}
    kept = json.loads((workbench.folder / "wintry.json").read_text())
    assert [[pair["prompt"], pair["positive"], pair["negative"]] for pair in kept["pairs"]] == PAIRS
    assert len(kept["about"]["statistics"]) == 4


def test_too_few_pairs_to_hold_one_out_have_no_auroc(workbench: Workbench) -> None:
    made = create_concept(workbench, "wintry", PAIRS[:2])
    assert all(math.isnan(one.auroc) for one in made.statistics)
    assert made.entry.layer == workbench.middle_layer()
    assert "NaN" not in (workbench.folder / "wintry.json").read_text()


@pytest.mark.parametrize(
    ("name", "pairs", "policy", "named"),
    [
        ("../evil", PAIRS, "content", "cannot be a concept's name"),
        ("Wintry", PAIRS, "content", "cannot be a concept's name"),
        ("happy", PAIRS, "content", "concept 'happy' already"),
        ("wintry", [], "content", "no contrast pairs"),
        ("wintry", PAIRS * 17, "content", "68 pairs are too many"),
        ("wintry", PAIRS, "first", "token policy"),
        ("wintry", [["a", "same", "same"]], "content", "pair 1: both answers are the same"),
        ("wintry", [["a", "b", "c"], ["a", "", "c"]], "content", "pair 2: The answer with the concept is empty"),
        ("wintry", [["a", "x" * 1001, "c"]], "content", "1001 characters"),
        ("wintry", [["a", "b"]], "content", "pair 1 must be"),
        ("wintry", "abc", "content", "no contrast pairs"),
    ],
)
def test_what_cannot_be_made_is_refused_and_writes_nothing(
    workbench: Workbench, lab_project: Path, name: str, pairs: object, policy: str, named: str
) -> None:
    with pytest.raises(UserError, match=named):
        create_concept(workbench, name, pairs, policy)  # type: ignore[arg-type]
    assert not (lab_project / "lab").exists()


def test_every_bad_pair_is_named_at_once() -> None:
    with pytest.raises(UserErrors) as caught:
        checked_pairs([["", "b", "c"], ["a", "b", "c"], ["a", "b", "b"]])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["pair 1", "pair 3"]
