"""Either scorer behind the judge: which is taken, that columns belong to their concepts, and what is refused."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from seasons.language.topic import VALUES
from steerwright.errors import UserError
from steerwright.scoring.language.judges import Entailment, TextJudge, TextLabels
from steerwright.scoring.language.text_classifier import TextClassifier, form_features, save_text_classifier

HYPOTHESES = {"pirate": "a pirate wrote this", "happy": "this sounds happy"}


class Planted(Entailment):
    """Knows three concepts; a text's probability of each is the share of its words that are the concept's name."""

    def __init__(self) -> None:
        self.concepts = ("happy", "calm", "pirate")

    def probabilities(self, texts: list[str], ended: object = None) -> torch.Tensor:  # type: ignore[override]
        words = [text.split() for text in texts]
        return torch.tensor([[some.count(name) / max(1, len(some)) for name in self.concepts] for some in words])


def test_columns_are_those_of_the_concepts_asked_for_in_their_order() -> None:
    judge = TextJudge(Planted(), ("pirate", "happy"))
    found = judge.probabilities(["pirate pirate happy calm", "happy"], [True, False])
    assert found.tolist() == [[0.5, 0.25], [0.0, 1.0]]
    table = judge.judged(pl.DataFrame({"text": ["pirate happy"], "ended": [True], "nll": [np.log(3.0)]}))
    assert table.select("p_pirate", "p_happy").row(0) == (0.5, 0.5)
    assert table["perplexity"].item() == pytest.approx(3.0)
    assert judge.probabilities([], []).shape == (0, 2)


def test_a_concept_that_the_scorer_does_not_know_is_named() -> None:
    with pytest.raises(UserError, match=r"does not know mine; it knows happy, calm, pirate.*in language\.scorer"):
        TextJudge(Planted(), ("happy", "mine"))


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    """A classifier of the embedded kind that calls texts with `arr` pirate, and those that were cut off verbose."""
    network = TextClassifier([*form_features(), "arr"], VALUES)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for feature, unit in (("arr", 0), ("<cut>", 1)):
            network.embedding.weight[network.index[feature], unit] = 1.0
            network.hidden.weight[unit, unit] = 1.0
        network.out.bias.fill_(-5.0)
        network.out.weight[VALUES.index("pirate"), 0] = 10.0
        network.out.weight[VALUES.index("verbose"), 1] = 10.0
    save_text_classifier(network, tmp_path / "labels")
    return tmp_path / "labels"


def test_the_embedded_classifier_is_told_which_texts_were_cut_off(embedded: Path) -> None:
    judge = TextJudge.load(str(embedded), {"verbose": "", "pirate": ""})
    assert isinstance(judge._scorer, TextLabels)
    found = judge.probabilities(["Arr!", "The lake is deep.", "The lake"], [True, True, False])
    assert (found > 0.5).tolist() == [[False, True], [False, False], [True, False]]


def test_a_folder_of_a_sequence_classifier_is_a_zero_shot_scorer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["DebertaV2ForSequenceClassification"]}))
    asked = []
    load = classmethod(lambda cls, source, hypotheses: asked.append(hypotheses) or Planted())
    monkeypatch.setattr(Entailment, "load", load)
    assert TextJudge.load(str(tmp_path), HYPOTHESES).concepts == ("pirate", "happy")
    # An id on the Hub, of which there is no folder here.
    TextJudge.load("someone/some-nli-model", HYPOTHESES)
    assert asked == [HYPOTHESES, HYPOTHESES]


def test_a_path_without_a_classifier_is_refused(tmp_path: Path) -> None:
    for missing in ("models/none", str(tmp_path)):
        with pytest.raises(UserError, match="is not a text classifier"):
            TextJudge.load(missing, HYPOTHESES)
