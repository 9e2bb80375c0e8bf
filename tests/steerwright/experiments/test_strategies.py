from typing import Any

import pytest
import torch

from steerwright.activations.token_policy import PromptActivations
from steerwright.errors import UserError
from steerwright.experiments.closed_loop import ClosedLoop
from steerwright.experiments.dose import Dose, Keywords, keyword_doses, resistance
from steerwright.experiments.projection import Projection, calibrate, projection_doses, projections
from steerwright.experiments.strategy import Evidence, doses, parse_strategy
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

WORDS: dict[str, Any] = {
    "kind": "keywords",
    "high": ["summer", "hot", "Heat wave"],
    "medium": ["meadow", "lake"],
    "low": ["room"],
    "multipliers": {"high": 1.6, "medium": 1.0, "low": 0.8},
    "default": "low",
}
LOOP: dict[str, Any] = {
    "kind": "closed_loop",
    "target_margin": 0.1,
    "fidelity_floor": 0.5,
    "minimum": 0.0,
    "maximum": 2.0,
    "rounds": 5,
    "tolerance": 0.01,
    "search": "bisect",
}


def keywords(**changes: Any) -> Keywords:
    return Keywords.model_validate(WORDS | changes)


@pytest.mark.parametrize(
    ("prompt", "expected", "word"),
    [
        ("a house in summer", "high", "summer"),
        ("A cat in a MEADOW, in Summer.", "high", "summer"),  # several classes: the one that resists most
        ("a hotel by the lake", "medium", "lake"),  # "hotel" is not "hot"
        ("a photo of a mushroom", "low", None),  # nor "mushroom" "room"
        ("a heat  wave", "high", "Heat wave"),
        ("hot", "high", "hot"),
        ("a shot of hot-dogs", "high", "hot"),
        ("", "low", None),
    ],
)
def test_prompts_fall_into_classes_by_whole_words(prompt: str, expected: str, word: str | None) -> None:
    assert resistance(keywords(), prompt) == (expected, word)


def test_an_unknown_prompt_gets_the_default_that_params_name() -> None:
    assert keyword_doses(keywords(default="medium"), ["a tent"]) == [
        Dose(1.0, "medium resistance: mentions no listed word (default)")
    ]
    assert keyword_doses(keywords(), ["a tent", "a hot tent"]) == [
        Dose(0.8, "low resistance: mentions no listed word (default)"),
        Dose(1.6, "high resistance: mentions 'hot'"),
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            WORDS | {"multipliers": {"high": 1.0, "medium": 1.0, "low": 0.8}},
            r"strategy\.multipliers: high > medium > low",
        ),
        (WORDS | {"low": ["Summer"]}, "listed under high and low"),
        (WORDS | {"low": [" "]}, "empty word"),
        (WORDS | {"defualt": "low"}, r"strategy\.defualt: Extra inputs"),
        (WORDS | {"default": "none"}, r"strategy\.default"),
        (WORDS | {"kind": "oracle"}, "oracle"),
        ({"kind": "projection", "gain": 1, "minimum": 1.5, "maximum": 3}, "minimum 1.5 <= 1 <= maximum 3"),
        ({"kind": "projection", "gain": 1, "minimum": 0.5}, r"strategy\.maximum: Field required"),
        (LOOP | {"minimum": 2.0}, "minimum 2.0 < maximum 2.0"),
        (LOOP | {"rounds": 1, "tolerance": -1}, r"strategy\.rounds.*\n.*strategy\.tolerance"),
    ],
)
def test_a_mistake_in_params_is_named_by_its_key(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_strategy(params)


def test_each_kind_of_params_is_its_own_strategy() -> None:
    assert isinstance(parse_strategy(WORDS), Keywords)
    assert isinstance(parse_strategy({"kind": "projection", "gain": 1, "minimum": 0.5, "maximum": 2}), Projection)
    assert isinstance(parse_strategy(LOOP), ClosedLoop)


# Two slots. The concept's prompts project on 10 and 4. What the tuning prompts lack: (8 + 4) / 2 = 6, (8 + 5) / 2 = 6.5
# and (-8 + 1) / 2 = -3.5, of which 6 is the median.
CONCEPT = torch.tensor([[9.0, 4.0], [11.0, 4.0]])
TUNING = torch.tensor([[2.0, 0.0], [2.0, -1.0], [18.0, 3.0]])


def test_a_prompt_twice_as_far_from_the_concept_gets_twice_as_much() -> None:
    calibration = calibrate(TUNING, CONCEPT)
    assert calibration.distance == 6.0
    strategy = Projection(kind="projection", gain=1.0, minimum=0.25, maximum=2.5)
    prompts = torch.tensor([[2.0, 0.0], [-6.0, -4.0], [2.0, -6.0], [10.0, 4.0], [-99.0, -99.0]])
    found = projection_doses(strategy, calibration, prompts)
    # Lacking 6; (16 + 8) / 2 = 12; (8 + 10) / 2 = 9; nothing (bounded from below); very much (from above).
    assert [dose.multiplier for dose in found] == [1.0, 2.0, 1.5, 0.25, 2.5]
    assert found[1].reason == "2.00 times the typical distance to the concept"
    assert found[3].reason.endswith("0.00 bounded")


def test_gain_says_how_much_the_dose_follows_the_projection() -> None:
    calibration, prompts = calibrate(TUNING, CONCEPT), torch.tensor([[-6.0, -4.0]])
    for gain, expected in [(0.0, 1.0), (0.5, 1.5), (2.0, 3.0)]:
        strategy = Projection(kind="projection", gain=gain, minimum=0.0, maximum=9.0)
        assert projection_doses(strategy, calibration, prompts)[0].multiplier == expected


def test_tuning_prompts_that_show_the_concept_already_cannot_calibrate() -> None:
    with pytest.raises(UserError, match="no further from the concept"):
        calibrate(CONCEPT, TUNING[:2])


MODEL = Fingerprint(name="tiny", source="here", revision=None, digest="0" * 64, libraries={})
AT = Hookpoint("text_encoder.encoder.layers.2.mlp")
TYPES = {
    "content": torch.tensor([[0, 1, 1, 0]]).bool(),
    "eos": torch.tensor([[0, 0, 0, 1]]).bool(),
    "padding": torch.tensor([[0, 0, 0, 0]]).bool(),
}


def test_projections_read_the_tokens_that_the_vectors_are_taken_from() -> None:
    values = torch.tensor([[[9.0, 0.0], [1.0, 7.0], [3.0, 7.0], [5.0, 2.0]]])
    axes = {"content": Direction(torch.tensor([1.0, 0.0]), torch.tensor(0.5))}
    axes |= {"eos": Direction(torch.tensor([0.0, 1.0]), torch.tensor(1.0))}
    typed = SteeringVectors("w", MODEL, "x", "typed", {VectorKey(AT, tokens): axis for tokens, axis in axes.items()})
    # Content: mean(1, 3) along the first axis, in multiples of the norm 0.5. EOS: 2 along the second, of norm 1.
    assert projections([(AT, PromptActivations(values, TYPES))], typed).tolist() == [[4.0, 2.0]]
    place = Direction(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([0.0, 0.5, 1, 0]))
    position = SteeringVectors("w", MODEL, "x", "position", {VectorKey(AT): place})
    # Positions 1 and 2 have directions: 1 / 0.5 along the first axis, 7 along the second.
    assert projections([(AT, PromptActivations(values, TYPES))], position).tolist() == [[4.5]]
    with pytest.raises(UserError, match=r"activations at text_encoder\.encoder\.layers\.2\.mlp:out are needed"):
        projections([], position)


def test_a_strategy_asks_for_no_evidence_that_it_does_not_need() -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("not asked for")

    found, attempts = doses(keywords(), ["summer"], Evidence(projections=never, seeds=[], generate=never, score=never))
    assert [dose.multiplier for dose in found] == [1.6]
    assert attempts == []
    calibrated = (calibrate(TUNING, CONCEPT), torch.tensor([[-6.0, -4.0]]))
    projection = parse_strategy({"kind": "projection", "gain": 1.0, "minimum": 0.5, "maximum": 4.0})
    evidence = Evidence(projections=lambda: calibrated, seeds=[], generate=never, score=never)
    assert doses(projection, ["a"], evidence)[0][0].multiplier == 2.0
