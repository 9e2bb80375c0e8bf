import dataclasses
import math
from pathlib import Path

import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.jobs import Cancelled, Job
from steerwright.lab.operations.blend import Blend
from steerwright.lab.operations.steer_text import Written, edits_for, steer_text
from steerwright.lab.workbench import Workbench
from steerwright.models.language.encode import encode
from steerwright.vectors.steering_vectors import VectorKey

PROMPT = "Tell me about the old boat."


def _unit(workbench: Workbench, concept: str, layer: int) -> torch.Tensor:
    (direction,) = workbench.concept(concept).vectors.at_layers([layer]).directions.values()
    return direction.unit


def _logits(
    workbench: Workbench, ids: list[int], prompt: int, push: tuple[int, float, torch.Tensor] | None
) -> torch.Tensor:
    """By transformers and a hook of our own: the residual stream of the prompt's last token and all after it moves."""
    model = workbench.language().model
    handles = []
    if push is not None:
        layer, strength, unit = push

        def hook(module, args, output):
            acts = output[0] if isinstance(output, tuple) else output
            moved = acts.clone()
            tail = acts[:, prompt - 1 :]
            moved[:, prompt - 1 :] = tail + strength * tail.norm(dim=-1, keepdim=True) * unit
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        handles.append(model.model.layers[layer].register_forward_hook(hook))
    try:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0].log_softmax(-1)
    finally:
        for handle in handles:
            handle.remove()


def _greedy(workbench: Workbench, push: tuple[int, float, torch.Tensor] | None, count: int) -> list[int]:
    prompt = encode(workbench.language(), [PROMPT]).ids[0].tolist()
    written: list[int] = []
    for _ in range(count):
        best = int(_logits(workbench, prompt + written, len(prompt), push)[-1].argmax())
        if best in workbench.language().ends:
            break
        written.append(best)
    return written


def test_both_answers_are_those_of_a_loop_without_cache_and_a_hook_of_ones_own(workbench: Workbench) -> None:
    unit = _unit(workbench, "happy", 2)
    found = steer_text(workbench, PROMPT, "happy", 2, 0.8, tokens=12, temperature=0)
    tokenizer = workbench.language().tokenizer
    expected = [
        tokenizer.decode(_greedy(workbench, push, 12), skip_special_tokens=True).strip()
        for push in (None, (2, 0.8, unit))
    ]
    assert [found.unsteered.text, found.steered.text] == expected
    assert found.unsteered.text != found.steered.text


def test_log_probabilities_and_perplexity_are_those_of_a_plain_forward(workbench: Workbench) -> None:
    unit = _unit(workbench, "sad", 1)
    found = steer_text(workbench, PROMPT, "sad", 1, 0.6, tokens=10, temperature=0)
    prompt = encode(workbench.language(), [PROMPT]).ids[0].tolist()
    written = _greedy(workbench, (1, 0.6, unit), 10)
    assert len(written) == 10, "the example must not end by itself"
    plain = _logits(workbench, prompt + written, len(prompt), None)
    moved = _logits(workbench, prompt + written, len(prompt), (1, 0.6, unit))
    for place, (token, id_) in enumerate(zip(found.steered.tokens, written, strict=True)):
        before = len(prompt) + place - 1
        assert token.unsteered == pytest.approx(float(plain[before, id_]), abs=1e-3)
        assert token.steered == pytest.approx(float(moved[before, id_]), abs=1e-3)
        assert token.change == pytest.approx(float(moved[before, id_] - plain[before, id_]), abs=2e-3)
    surprise = -sum(float(plain[len(prompt) + place - 1, id_]) for place, id_ in enumerate(written)) / 10
    assert found.steered.perplexity == pytest.approx(math.exp(surprise), rel=1e-3)
    assert found.perplexity_ratio == pytest.approx(found.steered.perplexity / found.unsteered.perplexity)


@pytest.mark.parametrize("temperature", [0, 0.9])
def test_strength_zero_changes_nothing_at_all(workbench: Workbench, temperature: float) -> None:
    found = steer_text(workbench, PROMPT, "happy", 2, 0, tokens=16, temperature=temperature, seed=5)
    assert found.unsteered == found.steered
    assert {token.change for token in found.steered.tokens} == {0.0}


def test_the_same_seed_gives_the_same_answers_and_another_seed_others(workbench: Workbench) -> None:
    first = steer_text(workbench, PROMPT, "happy", 2, 0.5, temperature=1.2, seed=3)
    assert steer_text(workbench, PROMPT, "happy", 2, 0.5, temperature=1.2, seed=3) == first
    assert steer_text(workbench, PROMPT, "happy", 2, 0.5, temperature=1.2, seed=4).unsteered != first.unsteered


def test_a_concept_comes_with_its_own_layer_and_strength(workbench: Workbench) -> None:
    entry = workbench.concept("sad")
    found = steer_text(workbench, PROMPT, "sad", tokens=4)
    assert (found.layers, found.strength) == ((entry.layer,), entry.strength)
    assert found.norm == pytest.approx(float(entry.vectors.at_layers([2]).directions.popitem()[1].norm))


def test_the_push_is_told_in_lengths_of_the_vector(workbench: Workbench) -> None:
    model = workbench.language()
    encoded = encode(model, [PROMPT])
    length = model.model(encoded.ids, output_hidden_states=True).hidden_states[3][0, -1].norm()
    found = steer_text(workbench, PROMPT, "happy", 2, 0.5, tokens=3)
    assert found.push == pytest.approx(float(0.5 * length) / found.norm, rel=1e-4)


def test_a_concept_that_is_taken_away_leaves_nothing_of_it_at_the_layer(workbench: Workbench) -> None:
    seen: list[torch.Tensor] = []
    model = workbench.language().model
    (direction,) = workbench.concept("happy").vectors.at_layers([2]).directions.values()
    # Layer 3's input is what steering made of layer 2.
    handle = model.model.layers[3].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"]).detach().clone()),
        with_kwargs=True,
    )
    try:
        steer_text(workbench, PROMPT, "happy", 2, 1.0, action="erase", tokens=5, temperature=0)
    finally:
        handle.remove()
    # The steered row is the second; in each forward that writes, its newest token is one that is steered.
    along = [float(acts[1, -1] @ direction.unit - direction.origin) for acts in seen if len(acts) == 2][:5]
    assert max(along) <= 1e-3


def test_what_a_request_asks_for_is_taken_away_at_every_layer_along_its_own_vectors(workbench: Workbench) -> None:
    found = steer_text(workbench, PROMPT, "happy", action="erase", tokens=3)
    assert (found.layers, found.strength) == ((0, 1, 2, 3), 1.5)
    happy, other = workbench.concept("happy"), workbench.concept("pirate").vectors
    model = workbench.language()
    for entry, expected in ((happy, happy.vectors), (dataclasses.replace(happy, removal=other), other)):
        chosen = Blend({"happy": 1.0}, {"happy": entry}, entry.vectors)
        edits = edits_for(model, chosen, range(4), 1.5, action="erase", place="all")
        assert {edit.tokens for edit in edits} == {"all"}
        for edit, (slot, direction) in zip(edits, expected.directions.items(), strict=True):
            assert edit.hookpoint == slot.hookpoint
            assert torch.equal(edit.operator.direction.unit, direction.unit)
        # Added is always the concept's own.
        (added,) = edits_for(model, chosen, [2], 1.0)
        assert torch.equal(
            added.operator.direction.unit, happy.vectors.at_layers([2]).directions[VectorKey(added.hookpoint)].unit
        )


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"layer": 4}, "layer must be a whole number from 0 to 3"),
        ({"layer": "deep"}, "layer"),
        ({"strength": float("nan")}, "strength"),
        ({"strength": 1e9}, "strength"),
        ({"concepts": "merry"}, "no concept 'merry'"),
        ({"concepts": "../../etc/passwd"}, "no concept"),
        ({"concepts": []}, "No concept is chosen"),
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": "x" * 2001}, "2001 characters"),
        ({"tokens": 0}, "number of tokens"),
        ({"tokens": 201}, "number of tokens"),
        ({"temperature": float("inf")}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"action": "multiply"}, "action"),
        ({"place": "first"}, "place"),
        ({"bound": "cap"}, "bound"),
        ({"concepts": "happy:nan"}, "happy:nan"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name_and_the_lab_goes_on(
    workbench: Workbench, lab_project: Path, more: dict[str, object], named: str
) -> None:
    asked = {"prompt": PROMPT, "concepts": "happy", "layer": 2, "strength": 0.5, "tokens": 3} | more
    with pytest.raises(UserError, match=named):
        steer_text(workbench, **asked)  # type: ignore[arg-type]
    assert not (lab_project / "lab").exists()
    assert steer_text(workbench, PROMPT, "happy", 2, 0.5, tokens=3).steered.tokens


def test_tokens_are_shown_as_they_come(workbench: Workbench) -> None:
    shown: list[Written] = []
    found = steer_text(workbench, PROMPT, "happy", 2, 0.5, tokens=8, temperature=0, job=Job(show=shown.append))
    lengths = [len(one.steered) for one in shown]
    assert lengths == sorted(lengths)
    assert lengths[-1] == len(found.steered.tokens)
    # A random model may end inside a character, which is not shown before it is whole.
    assert "".join(shown[-1].steered).strip() == found.steered.text.rstrip("\ufffd")


def test_a_stop_ends_the_writing_at_the_next_token_and_leaves_nothing_behind(workbench: Workbench) -> None:
    shown: list[Written] = []
    with pytest.raises(Cancelled):
        steer_text(
            workbench, PROMPT, "happy", 2, 0.5, tokens=100, temperature=1.0,
            job=Job(cancelled=lambda: len(shown) >= 6, show=shown.append),
        )  # fmt: skip
    assert len(shown) <= 8
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in workbench.language().model.modules()
    )
    with workbench.turn("language"):
        pass
