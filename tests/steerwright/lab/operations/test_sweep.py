import math
import threading

import pytest

from steerwright.errors import UserError
from steerwright.lab.jobs import Cancelled, Job
from steerwright.lab.operations import sweep as sweep_module
from steerwright.lab.operations.steer_text import SteeredText, steer_text
from steerwright.lab.operations.sweep import layer_analysis, strength_sweep, sweep
from steerwright.lab.workbench import Workbench

# The four requests of the small project's tuning.csv.
PROMPTS = ("Tell me about the garden.", "Tell me about the market.", "Tell me about the house.", "about the old boat")


def _one_by_one(workbench: Workbench, layer: int, strength: float) -> list[SteeredText]:
    return [
        steer_text(workbench, prompt, "happy", layer, strength, tokens=8, temperature=0, seed=seed)
        for seed, prompt in enumerate(PROMPTS)
    ]


def _perplexity(answers: list[SteeredText], side: str) -> float:
    log_probs = [token.unsteered for found in answers for token in getattr(found, side).tokens]
    assert not any(getattr(found, side).ended for found in answers), "an end counts too, and the example has none"
    return math.exp(-sum(log_probs) / len(log_probs))


def test_every_layer_is_steered_with_its_own_vector(workbench: Workbench) -> None:
    found = layer_analysis(workbench, "happy", 0.8, tokens=8, temperature=0)
    assert [(point.layer, point.strength) for point in found.points] == [(layer, 0.8) for layer in range(4)]
    for point in found.points:
        assert point.sample == _one_by_one(workbench, point.layer, 0.8)[0].steered.text
    assert len({point.sample for point in found.points}) > 1


def test_a_point_is_what_its_answers_are_one_by_one(workbench: Workbench) -> None:
    found = strength_sweep(workbench, "happy", 2, [0.3, 0.9], tokens=8, temperature=0)
    assert found.prompts == 4
    for point in found.points:
        answers = _one_by_one(workbench, 2, point.strength)
        expressed = [one.steered.expressed["happy"] for one in answers]
        assert point.rate == sum(value >= 0.5 for value in expressed) / 4
        assert point.mean == pytest.approx(sum(expressed) / 4, abs=1e-4)
        assert point.perplexity == pytest.approx(_perplexity(answers, "steered"), rel=1e-3)
        assert point.ratio == pytest.approx(point.perplexity / _perplexity(answers, "unsteered"), rel=1e-3)
        assert point.low <= point.rate <= point.high
    assert found.unsteered.ratio == 1.0
    assert found.unsteered.sample == answers[0].unsteered.text


def test_how_rows_are_put_into_batches_changes_nothing(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    together = sweep(workbench, "sad", [1, 3], [0.2, 0.5, 1.0], tokens=6, temperature=0)
    monkeypatch.setattr(sweep_module, "ROWS", 1)
    apart = sweep(workbench, "sad", [1, 3], [0.2, 0.5, 1.0], tokens=6, temperature=0)
    assert [point.sample for point in together.points] == [point.sample for point in apart.points]
    assert [point.perplexity for point in apart.points] == pytest.approx(
        [point.perplexity for point in together.points], rel=1e-4
    )


def test_the_best_point_is_the_likeliest_one_that_is_coherent(workbench: Workbench) -> None:
    found = sweep(workbench, "happy", range(4), [0.2, 0.6, 1.5], tokens=6, temperature=0)
    coherent = [point for point in found.points if point.ratio <= 2]
    assert coherent, "the example needs a coherent point"
    assert found.best is not None
    assert found.best.ratio <= 2
    assert found.best.rate == max(point.rate for point in coherent)


def test_one_request_of_ones_own_is_asked_with_many_seeds(workbench: Workbench) -> None:
    sampled = strength_sweep(workbench, "happy", 1, [0.3], prompt="about the lake", tokens=4, temperature=1.0)
    greedy = strength_sweep(workbench, "happy", 1, [0.3], prompt="about the lake", tokens=4, temperature=0)
    assert (sampled.prompts, greedy.prompts) == (12, 1)


def test_a_stopped_sweep_keeps_what_was_shown_and_frees_the_model(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "ROWS", 4)
    shown: list[int] = []
    job = Job(cancelled=lambda: len(shown) >= 3, show=lambda points: shown.append(len(points)))
    with pytest.raises(Cancelled):
        sweep(workbench, "happy", range(4), [0.2, 0.5], tokens=5, job=job)
    assert shown == [1, 2, 3]
    assert steer_text(workbench, PROMPTS[0], "happy", 1, 0.2, tokens=2).steered.tokens


def test_a_short_request_does_not_wait_for_the_whole_sweep(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "ROWS", 4)
    workbench.concepts()
    under_way, shown = threading.Event(), []

    def show(points: object) -> None:
        shown.append(points)
        under_way.set()

    strengths = [0.1 + 0.02 * step for step in range(40)]
    thread = threading.Thread(
        target=sweep, args=(workbench, "happy", range(4), strengths), kwargs={"tokens": 5, "job": Job(show=show)}
    )
    thread.start()
    assert under_way.wait(30)
    steer_text(workbench, PROMPTS[0], "sad", 1, 0.2, tokens=5)
    points_by_then = len(shown)
    thread.join(120)
    assert points_by_then < len(shown) == 160


@pytest.mark.parametrize(
    ("layers", "strengths", "named"),
    [
        ([], [0.5], "0 layers"),
        ([1], [], "0 strengths"),
        ([4], [0.5], "layer must be"),
        ([1], ["nan"], "strength must be"),
        (range(4), [0.01 * step for step in range(101)], "404|4 layers x 101"),
    ],
)
def test_a_sweep_that_cannot_be_made_is_refused(
    workbench: Workbench, layers: object, strengths: object, named: str
) -> None:
    with pytest.raises(UserError, match=named):
        sweep(workbench, "happy", layers, strengths)  # type: ignore[arg-type]
