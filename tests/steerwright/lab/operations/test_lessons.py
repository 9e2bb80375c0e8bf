import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.jobs import Cancelled, Job
from steerwright.lab.lessons import LESSONS
from steerwright.lab.lessons.directions import pair_agreement
from steerwright.lab.lessons.experiment import Answers, AnswerShare, Experiment, known_concepts
from steerwright.lab.lessons.lesson import LayerSlider, LessonStep, Number, OneOf, Words, start
from steerwright.lab.tabs.tutorials import lesson_named, run_step, step_of
from steerwright.lab.workbench import Workbench
from steerwright.steering.language.generate import Completion
from steerwright.steering.language.log_probs import token_log_probs

STEPS = [(one.name, step.name) for one in LESSONS for step in one.steps]


def _completion(text: str) -> Completion:
    return Completion("p", 0, text, (1, 2), False, (0,))


def test_lessons_and_their_steps_have_names_of_their_own() -> None:
    assert 5 <= len(LESSONS) <= 6
    assert len({one.name for one in LESSONS}) == len(LESSONS)
    for one in LESSONS:
        assert len({step.name for step in one.steps}) == len(one.steps) >= 2
        for step in one.steps:
            assert len({control.name for control in step.controls}) == len(step.controls)


@pytest.mark.parametrize(("lesson_name", "step_name"), STEPS)
def test_what_a_step_is_set_to_first_is_something_that_it_takes(lesson_name: str, step_name: str) -> None:
    step = step_of(lesson_named(lesson_name), step_name)
    known = ("happy", "sad", "pirate")
    first = {control.name: start(control, known, 8) for control in step.controls}
    left_open = [control.name for control in step.controls if first[control.name] == ""]
    assert all(isinstance(control, OneOf) and control.options for control in step.controls if control.name in left_open)
    for control in step.controls:
        if control.name in left_open:
            with pytest.raises(UserError, match="Choose an answer first"):
                step.checked(first, known)
            first[control.name] = control.options[0]  # type: ignore[union-attr]  # checked above
    assert step.checked(first, known) == first


@pytest.mark.parametrize(
    ("control", "given"),
    [
        (Number("n", "Strength", 0, 2, 0.1, 1), math.nan),
        (Number("n", "Strength", 0, 2, 0.1, 1), 2.1),
        (Number("n", "Pairs", 1, 8, 1, 1), 1.5),
        (Number("n", "Pairs", 1, 8, 1, 1), "many"),
        (LayerSlider("n", "Layer"), -1),
        (OneOf("n", "Concept"), "../happy"),
        (OneOf("n", "Answer", ("yes", "no"), "yes"), "happy"),
        (Words("n", "Sentence", "x"), "  "),
        (Words("n", "Sentence", "x"), "x" * 10_000),
    ],
)
def test_a_value_that_a_control_does_not_take_is_refused(control: Any, given: object) -> None:
    step = LessonStep("s", "t", (), "", "", (control,), lambda *_: pytest.fail("it ran"))
    with pytest.raises(UserError):
        step.checked({"n": given}, ("happy",))


@pytest.mark.parametrize(
    ("lesson_name", "step_name"), [("no-such", "length"), ("activations", "../length"), (None, "")]
)
def test_an_unknown_lesson_or_step_is_refused(embedded: Workbench, lesson_name: Any, step_name: Any) -> None:
    with pytest.raises(UserError, match="There is no"):
        run_step(embedded, lesson_name, step_name, {})


def test_a_model_whose_texts_nobody_can_judge_has_no_lessons(workbench: Workbench) -> None:
    assert known_concepts(workbench) == ()
    with pytest.raises(UserError, match="seasons-lm"):
        run_step(workbench, "activations", "length", {"guess": 2})


def test_a_count_has_wilsons_interval() -> None:
    # Brown, Cai and DasGupta (2001), Wilson's interval by its formula: 8 of 10 gives 0.490 to 0.943.
    low, high = AnswerShare(8, 10).interval
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert AnswerShare(8, 10).rate == 0.8


def test_an_answer_shows_several_concepts_only_when_it_shows_each() -> None:
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.9], [0.49, 0.9]], np.float32)
    answers = Answers(tuple(map(_completion, "abcd")), ("happy", "pirate"), probabilities, np.zeros(4))
    assert (answers.show("happy").hits, answers.show("pirate").hits) == (2, 3)
    assert answers.show("happy", "pirate").hits == 1


def test_the_perplexity_ratio_is_that_of_the_geometric_means() -> None:
    def answers(*perplexities: float) -> Answers:
        nll = np.log(np.array(perplexities))
        return Answers(tuple(_completion("x") for _ in nll), (), np.zeros((len(nll), 0), np.float32), nll)

    assert answers(4.0, 9.0).perplexity_ratio(answers(2.0, 4.5)) == pytest.approx(2.0)


def test_pairs_agree_as_every_split_of_few_pairs_does() -> None:
    generator = torch.Generator().manual_seed(0)
    differences = torch.tensor([1.0, 0.0, 0.0]) + 0.8 * torch.randn(4, 3, generator=generator)
    # All ways to draw two ordered halves of four pairs, instead of some at random.
    totals = torch.zeros(2, dtype=torch.float64)
    orders = list(itertools.permutations(range(4)))
    for order in orders:
        rows = differences.double()[list(order)]
        for count in (1, 2):
            totals[count - 1] += torch.nn.functional.cosine_similarity(
                rows[:count].mean(0), rows[2 : 2 + count].mean(0), dim=0
            )
    expected = totals / len(orders)
    # By chance of the draws: the mean over many seeds is the mean over all orders.
    found = torch.tensor([pair_agreement(differences, 2, torch.Generator().manual_seed(seed)) for seed in range(50)])
    torch.testing.assert_close(found.mean(0).double(), expected, atol=0.02, rtol=0)


@pytest.mark.slow
def test_a_sum_of_two_concepts_does_not_show_both_as_turns_do(embedded: Workbench) -> None:
    added, turns = (
        run_step(embedded, "mixing", "mix", {"how": how, "strength": 0.8}) for how in ("added up", "in turns")
    )
    assert not added.passed
    assert added.measured["both"] < turns.measured["both"]


def test_variants_answered_in_one_batch_are_what_each_is_alone(embedded: Workbench) -> None:
    experiment = Experiment(embedded)
    variants = [[], experiment.edits("pirate", [3], 0.7), experiment.edits("sad", [2, 4], 0.4)]
    together = experiment.compare(variants, count=3)
    for edits, found in zip(variants, together, strict=True):
        alone = experiment.answers(edits, count=3)
        assert [one.tokens for one in found.completions] == [one.tokens for one in alone.completions]
        np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=1e-4)
        np.testing.assert_allclose(found.nll, alone.nll, atol=1e-4)
    assert together[0].perplexity_ratio(together[0]) == 1.0
    # The same prompts and seeds for every variant.
    asked = [[(one.prompt, one.seed) for one in found.completions] for found in together]
    assert asked[0] == asked[1] == asked[2]
    (first, *_) = together[1].completions
    assert together[1].nll[0] == pytest.approx(-float(token_log_probs(embedded.language(), [first])[0].mean()))


def test_a_guess_is_judged_by_what_is_measured(embedded: Workbench) -> None:
    ratio = run_step(embedded, "activations", "length", {"guess": 1}).measured["ratio"]
    near, far = round(4 * ratio) / 4, 20
    assert run_step(embedded, "activations", "length", {"guess": near}).passed
    missed = run_step(embedded, "activations", "length", {"guess": far})
    assert not missed.passed
    assert missed.measured["ratio"] == pytest.approx(ratio)


def test_only_the_first_layer_that_settles_most_words_is_right(embedded: Workbench) -> None:
    layers = embedded.language().layers
    right = int(run_step(embedded, "activations", "settling", {"layer": 0}).measured["first"])
    passed = {
        layer for layer in range(layers) if run_step(embedded, "activations", "settling", {"layer": layer}).passed
    }
    assert passed == {right}
    with pytest.raises(UserError, match="layer"):
        run_step(embedded, "activations", "settling", {"layer": layers})


def test_a_stopped_step_ends_before_it_measures(embedded: Workbench) -> None:
    with pytest.raises(Cancelled):
        run_step(embedded, "depth", "where", {}, Job(cancelled=lambda: True))


def _found_by_trying(embedded: Workbench, name: tuple[str, str], tries: list[Mapping[str, Any]]) -> bool:
    return any(run_step(embedded, *name, values).passed for values in tries)


def _strengths(*values: float, **more: Any) -> list[Mapping[str, Any]]:
    return [{"strength": value, **more} for value in values]


TRIES: dict[tuple[str, str], list[Mapping[str, Any]]] = {
    ("activations", "length"): [{"guess": guess / 4} for guess in range(2, 60)],
    ("activations", "settling"): [{"layer": layer} for layer in range(8)],
    ("directions", "sentence"): [{"text": "What a joy the garden is! I am so glad, and everyone smiles happily."}],
    ("directions", "pairs"): [{"pairs": pairs} for pairs in range(1, 9)],
    ("directions", "baseline"): [{"baseline": "each one's neutral twin"}],
    ("strength", "nothing"): _strengths(0.0),
    ("strength", "break"): _strengths(2.0, 4.0),
    ("strength", "window"): _strengths(0.4, 0.5, 0.6, 0.7, 0.8),
    ("depth", "where"): [{"layer": layer, "strength": 0.6} for layer in range(8)],
    ("depth", "borrowed"): [
        {"guess": guess} for guess in ("at least half of the effect is kept", "more than half of it is lost")
    ],
    ("controls", "random"): [{"guess": guess} for guess in (0, 10)],
    ("controls", "asking"): [
        {"answer": answer} for answer in ("asking, clearly", "too close to call", "steering, clearly")
    ],
    ("controls", "sure"): [{"answers": answers} for answers in (32, 48, 64)],
    ("mixing", "mix"): [{"how": "in turns", "strength": strength} for strength in (0.8, 0.9)],
    ("mixing", "tug"): [{"against": against} for against in (0.6, 0.8, 1.0)],
    ("mixing", "remove"): [{"where": "every layer", "strength": strength} for strength in (1.0, 1.5, 2.0)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_every_step_can_be_done_on_the_embedded_model_and_does_not_pass_by_itself(
    embedded: Workbench, name: tuple[str, str]
) -> None:
    try:
        first = run_step(embedded, *name, {})
    except UserError as error:
        assert "Choose an answer first" in str(error)
    else:
        assert first.said
        assert first.shown
        assert not first.passed, "the step is done before the reader has done anything"
    assert _found_by_trying(embedded, name, TRIES[name])
