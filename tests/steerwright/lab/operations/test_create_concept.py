import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from steerwright.errors import UserError, UserErrors
from steerwright.lab.concepts import Pair
from steerwright.lab.operations.create_concept import LayerFit, best_layer, checked_pairs, create_concept
from steerwright.lab.workbench import Workbench
from steerwright.models.language.encode import encode, encode_texts
from steerwright.steering.language.generate import Sampling, complete

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
    made = create_concept(workbench, "wintry", PAIRS, "answers", policy)
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
    made = create_concept(workbench, "wintry", PAIRS, "answers")
    assert workbench.concept("wintry") is made.entry
    assert workbench.revision > before
    assert _files(lab_project / "lab") == {"wintry.json", "wintry.safetensors"}
    kept = json.loads((workbench.folder / "wintry.json").read_text())
    assert [[pair["prompt"], pair["positive"], pair["negative"]] for pair in kept["pairs"]] == PAIRS
    assert len(kept["about"]["statistics"]) == 4


def test_requests_are_read_where_the_answer_begins(workbench: Workbench) -> None:
    asked = [[f"{prompt} Say it coldly.", prompt] for prompt, _, _ in PAIRS]
    made = create_concept(workbench, "cold", asked)
    model = workbench.language()
    means = []
    for side in (0, 1):
        rows = []
        for pair in asked:
            ids = encode(model, [pair[side]]).ids
            rows.append(model.model(ids, output_hidden_states=True).hidden_states[2][0, -1].detach().double().numpy())
        means.append(np.mean(rows, axis=0))
    (direction,) = made.entry.vectors.at_layers([1]).directions.values()
    raw = direction.unit.double().numpy() * float(direction.norm)
    assert np.allclose(raw, means[0] - means[1], atol=1e-4)
    assert made.entry.vectors.token_policy == "request last"
    # It is read in texts by what the model answers to either.
    answers = complete(model, asked[0], [0, 0], Sampling(30))
    assert made.entry.pairs[0] == Pair(asked[0][1], answers[0].text.strip(), answers[1].text.strip())
    kept = json.loads((workbench.folder / "cold.json").read_text())["about"]
    assert kept["requests"][0] == {
        "asking": "Tell me about the lake. Say it coldly.",
        "plain": "Tell me about the lake.",
    }
    assert (kept["contrast"], kept["tokens"]) == ("requests", "last")


@pytest.mark.parametrize("tokens", [None, "content"])
def test_texts_are_read_by_themselves_as_the_published_lab_does(workbench: Workbench, tokens: str | None) -> None:
    """Two raw texts a pair, no template: the last token of each, by transformers alone."""
    made = create_concept(workbench, "icy", [pair[1:] for pair in PAIRS], "texts", tokens)
    model = workbench.language()
    means = []
    for side in (1, 2):
        rows = []
        for pair in PAIRS:
            ids = torch.tensor([model.tokenizer(pair[side])["input_ids"]])
            states = model.model(ids, output_hidden_states=True).hidden_states[2][0].detach().double().numpy()
            rows.append(states[-1] if tokens is None else states[1:].mean(0))  # without <s>
        means.append(np.mean(rows, axis=0))
    (direction,) = made.entry.vectors.at_layers([1]).directions.values()
    raw = direction.unit.double().numpy() * float(direction.norm)
    assert np.allclose(raw, means[0] - means[1], atol=1e-4)
    assert made.entry.vectors.token_policy == f"text {tokens or 'last'}"
    assert made.entry.pairs[0] == Pair("", *PAIRS[0][1:])


def test_a_layer_that_tells_pairs_apart_as_well_as_any_is_the_nearest_to_the_usual_one() -> None:
    def layers(*aurocs: float) -> list[LayerFit]:
        return [LayerFit(layer, *[0.0] * 7, (), auroc) for layer, auroc in enumerate(aurocs)]

    assert best_layer(layers(1.0, 0.8, 0.97, 1.0, 1.0), 2) == 2
    assert best_layer(layers(1.0, 0.8, 0.9, 0.97, 0.5), 2) == 3
    assert best_layer(layers(*[math.nan] * 5), 2) == 2


def test_too_few_pairs_to_hold_one_out_have_no_auroc(workbench: Workbench) -> None:
    made = create_concept(workbench, "wintry", PAIRS[:2], "answers")
    assert all(math.isnan(one.auroc) for one in made.statistics)
    assert made.entry.layer == workbench.usual().layer
    assert "NaN" not in (workbench.folder / "wintry.json").read_text()


@pytest.mark.parametrize(
    ("name", "pairs", "kind", "named"),
    [
        ("../evil", PAIRS, ("answers",), "cannot be a concept's name"),
        ("Wintry", PAIRS, ("answers",), "cannot be a concept's name"),
        ("happy", PAIRS, ("answers",), "concept 'happy' already"),
        ("wintry", [], (), "no contrast pairs"),
        ("wintry", PAIRS * 17, ("answers",), "68 pairs are too many"),
        ("wintry", PAIRS, ("answers", "first"), "token policy for answers"),
        ("wintry", [["a in ice", "a"]], ("requests", "content"), "token policy for requests"),
        ("wintry", PAIRS, ("questions",), "kind of pairs"),
        ("wintry", PAIRS, (), "pair 1 must be request that asks for the concept and request without it"),
        ("wintry", [["same", "same"]], (), "pair 1: both requests are the same"),
        ("wintry", [["a", "same", "same"]], ("answers",), "pair 1: both answers are the same"),
        ("wintry", [["a", "b", "c"], ["a", "", "c"]], ("answers",), "pair 2: The answer with the concept is empty"),
        ("wintry", [["a in ice", " "]], (), "pair 1: The request without it is empty"),
        ("wintry", [["a", "x" * 1001, "c"]], ("answers",), "1001 characters"),
        ("wintry", [["a", "b"]], ("answers",), "pair 1 must be"),
        ("wintry", "abc", (), "no contrast pairs"),
    ],
)
def test_what_cannot_be_made_is_refused_and_writes_nothing(
    workbench: Workbench, lab_project: Path, name: str, pairs: object, kind: tuple[str, ...], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        create_concept(workbench, name, pairs, *kind)  # type: ignore[arg-type]
    assert not (lab_project / "lab").exists()


def test_every_bad_pair_is_named_at_once() -> None:
    with pytest.raises(UserErrors) as caught:
        checked_pairs([["", "b", "c"], ["a", "b", "c"], ["a", "b", "b"]])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["pair 1", "pair 3"]
