"""The text classifier's features, its training texts and their truth, its files, and how well the shipped one reads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seasons.language.labelled_texts import LabelledText, labelled_text
from seasons.language.topic import VALUES
from steerwright.scoring.language.text_classifier import (
    TextClassifier,
    form_features,
    load_text_classifier,
    save_text_classifier,
    words_of,
)
from tasks.world.text_labels import learn_vocabulary, recalls, train_text_classifier

ROOT = Path(__file__).parents[3]
UNSEEN = 7731


@pytest.fixture(scope="module")
def shipped() -> TextClassifier:
    return load_text_classifier(ROOT / "models" / "seasons-text-labels")


@pytest.fixture(scope="module")
def unseen() -> list[LabelledText]:
    rng = np.random.default_rng(UNSEEN)
    return [labelled_text(rng, kind) for kind in ("whole", "cut") for _ in range(1500)]


def test_words_keep_capitals_that_shout() -> None:
    assert words_of("Arr, I LOVE it! 'Tis 10 o'clock") == [
        "arr", ",", "i", "LOVE", "it", "!", "'tis", "10", "o'clock",
    ]  # fmt: skip


def test_features_by_hand() -> None:
    model = TextClassifier([*form_features(), "a", "b", "a b", "b a"], VALUES)
    named = [model.vocabulary[i] for i in model.features("a b. A c", ended=False)]
    # Four words (bucket 1: up to five), a longest sentence of two (bucket 0), one sentence end (bucket 1), no pair
    # twice (bucket 0); of the pairs a-b, b-., .-a, a-c the last three are unknown (bucket 3: up to four).
    facts = ["<cut>", "<words 1>", "<longest 0>", "<sentences 1>", "<repeats 0>", "<unknown 3>"]
    assert named == [*facts, "a", "b", "a b"]
    again = [model.vocabulary[i] for i in model.features("a b a b a b", ended=True)]
    assert {"<ended>", "<repeats 2>", "<unknown 0>", "a b", "b a"} <= set(again)  # a-b thrice
    assert model.features("", ended=True)  # no text is a text too


def test_logits_are_those_of_the_sum_of_the_embeddings() -> None:
    torch.manual_seed(0)
    model = TextClassifier([*form_features(), "a", "b"], VALUES)
    bags = [[0, len(model.vocabulary) - 1], [1]]
    summed = torch.stack([model.embedding.weight[bag].sum(0) for bag in bags])
    expected = model.out(model.hidden(summed.clamp(min=0)).clamp(min=0))
    assert torch.allclose(model(bags), expected, atol=1e-6)
    # Forgotten words count nothing, facts of form stay.
    forgot = model(bags, lambda n: torch.zeros(n))
    assert torch.allclose(forgot[0], model([[0]])[0], atol=1e-6)
    assert torch.allclose(forgot[1], expected[1], atol=1e-6)


def test_a_saved_classifier_reads_the_same_with_its_own_values(tmp_path: Path) -> None:
    model = TextClassifier([*form_features(), "a"], VALUES).half().float()
    save_text_classifier(model, tmp_path)
    assert torch.equal(load_text_classifier(tmp_path)([[0, 2]]), model.eval()([[0, 2]]))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["values"] == list(VALUES)
    save_text_classifier(TextClassifier(form_features(), ["warm"]), tmp_path)
    assert load_text_classifier(tmp_path).values == ("warm",) and load_text_classifier(tmp_path)([[0]]).shape == (1, 1)
    (tmp_path / "config.json").write_text(json.dumps({**config, "width": 3}))
    with pytest.raises(ValueError, match="3 and 64 wide"):
        load_text_classifier(tmp_path)


def test_vocabulary_has_what_is_said_often_enough() -> None:
    texts = ["red sky"] * 4 + ["red sea"] * 3 + ["blue"] * 2
    assert learn_vocabulary(texts) == [*form_features(), "red", "sea", "sky", "red sky"]


def test_truth_of_whole_cut_and_nonsense_texts() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        one = labelled_text(rng, "whole")
        assert one.ended
        if one.truth[VALUES.index("brief")] == 1:
            assert len(one.text.split()) <= 10
        cut = labelled_text(rng, "cut")
        assert cut.ended or (3 <= len(cut.text.split()) < 36 and cut.truth[VALUES.index("brief")] == 0)
        assert len(set(labelled_text(rng, "looped").text.split())) <= 4
        assert np.nansum(labelled_text(rng, "looped").truth) == 0
    kept = [labelled_text(rng, "whole", only_kept=True) for _ in range(5)]
    assert all(np.nansum(one.truth) >= 1 for one in kept)


def test_recalls_by_hand() -> None:
    class Says(TextClassifier):
        def forward(self, bags, kept=None):  # type: ignore[no-untyped-def]
            return torch.tensor([[1.0 if value == "happy" else -1.0 for value in VALUES]] * len(bags))

    def text(happy: float, sad: float) -> LabelledText:
        truth = np.zeros(len(VALUES))
        truth[[VALUES.index("happy"), VALUES.index("sad")]] = happy, sad
        return LabelledText("whole", "x", True, truth)

    every = np.ones(len(VALUES))
    shown, none = LabelledText("whole", "x", True, every), LabelledText("whole", "x", True, 0 * every)
    texts = [shown, none, text(1, 1), text(0, 1), text(np.nan, 0), text(0, 0)]
    found = recalls(Says(form_features(), VALUES), texts)
    assert found["happy"] == (1.0, 1.0)  # those with it are found, those without it are taken for it
    assert found["sad"] == (0.0, 0.0)


def test_the_shipped_classifier_reads_texts_it_has_not_seen(
    shipped: TextClassifier, unseen: list[LabelledText]
) -> None:
    for value, (recall, false) in recalls(shipped, unseen).items():
        assert recall >= 0.95, value
        assert false <= 0.01, value


@pytest.mark.parametrize("kind", ["shuffled", "looped"])
def test_the_shipped_classifier_takes_nonsense_for_no_value(shipped: TextClassifier, kind: str) -> None:
    rng = np.random.default_rng(UNSEEN)
    texts = [one for one in (labelled_text(rng, kind) for _ in range(400)) if np.nansum(one.truth) == 0]
    with torch.inference_mode():
        said = shipped([shipped.features(one.text, one.ended) for one in texts]) >= 0
    assert said.float().mean(0).max() <= 0.03


@pytest.mark.slow
def test_a_short_training_learns_values_that_are_plain_to_see(tmp_path: Path) -> None:
    train_text_classifier(tmp_path / "labels", tmp_path / "work", texts=2500, steps=500)
    model = load_text_classifier(tmp_path / "labels")
    rng = np.random.default_rng(UNSEEN)
    found = recalls(model, [labelled_text(rng, "whole") for _ in range(600)])
    assert np.mean([recall for recall, _ in found.values()]) > 0.75
    assert max(false for _, false in found.values()) < 0.03
