import math
from collections.abc import Callable

import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.jobs import Cancelled, Job
from steerwright.lab.operations.compare_tokens import TokenComparison, compare_tokens
from steerwright.lab.workbench import Workbench

PROMPT, CONCEPT, LAYER, STRENGTH = "Tell me about the lake.", "pirate", 3, 0.8


@pytest.fixture(scope="module")
def found(embedded: Workbench) -> TokenComparison:
    return compare_tokens(embedded, PROMPT, CONCEPT, LAYER, STRENGTH, tokens=10)


def test_nothing_changes_before_the_edit_reaches_a_token_or_a_layer(found: TokenComparison) -> None:
    assert (found.change[:LAYER] == 0).all()
    # From the prompt's last token on, whose vector decides the first word of the answer.
    assert (found.change[:, : found.prompt_tokens - 1] == 0).all()
    assert (found.change[LAYER:, found.prompt_tokens - 1 :] > 0).all()


def test_at_the_edited_layer_each_token_moves_by_its_strength_straight_along_the_concept(
    found: TokenComparison,
) -> None:
    reached = slice(found.prompt_tokens - 1, None)
    expected = torch.full_like(found.change[LAYER, reached], STRENGTH)
    torch.testing.assert_close(found.change[LAYER, reached], expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.along[LAYER, reached], expected, rtol=1e-4, atol=0)
    assert (found.along.abs() <= found.change + 1e-5).all()


def test_log_probabilities_change_as_a_hook_of_ones_own_changes_them(
    embedded: Workbench, found: TokenComparison
) -> None:
    model = embedded.language()
    prompt = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    answer = model.tokenizer(found.steered, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[*prompt, *answer]])
    (unit,) = (
        direction.unit
        for slot, direction in embedded.concept(CONCEPT).vectors.directions.items()
        if slot.hookpoint == model.hookpoints[LAYER]
    )

    def push(module: object, args: object, output: torch.Tensor) -> torch.Tensor:
        moved = output.clone()
        here = moved[:, len(prompt) - 1 :]
        here += STRENGTH * here.norm(dim=-1, keepdim=True) * unit
        return moved

    def log_probs() -> torch.Tensor:
        with torch.inference_mode():
            logits = model.model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        return logits.gather(1, torch.tensor(answer)[:, None])[:, 0]

    before = log_probs()
    handle = model.model.model.layers[LAYER].register_forward_hook(push)
    try:
        after = log_probs()
    finally:
        handle.remove()
    assert "".join(found.tokens[found.prompt_tokens :]) == found.steered
    torch.testing.assert_close(found.log_prob_change[found.prompt_tokens :], after - before, rtol=1e-3, atol=1e-3)
    assert found.log_prob_change[: found.prompt_tokens].isnan().all()


def test_strength_zero_changes_nothing_at_all(embedded: Workbench) -> None:
    none = compare_tokens(embedded, PROMPT, CONCEPT, LAYER, 0.0, tokens=8, read="unsteered")
    assert none.steered == none.unsteered
    assert (none.change == 0).all()
    assert (none.log_prob_change[none.prompt_tokens :] == 0).all()


def test_the_unsteered_answer_can_be_the_one_that_is_read(embedded: Workbench) -> None:
    read = compare_tokens(embedded, PROMPT, CONCEPT, LAYER, STRENGTH, tokens=8, read="unsteered")
    assert "".join(read.tokens[read.prompt_tokens :]) == read.unsteered


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"prompt": " "}, "prompt"),
        ({"concept": "../../etc"}, "concept"),
        ({"layer": 99}, "layer"),
        ({"layer": 2.5}, "layer"),
        ({"strength": math.nan}, "strength"),
        ({"strength": 1e9}, "strength"),
        ({"tokens": 0}, "tokens"),
        ({"read": "both"}, "answer"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(embedded: Workbench, wrong: dict[str, object], named: str) -> None:
    asked = {"prompt": PROMPT, "concept": CONCEPT, "layer": LAYER, "strength": STRENGTH} | wrong
    with pytest.raises(UserError, match=named):
        compare_tokens(embedded, **asked)  # type: ignore[arg-type]


def test_a_stopped_comparison_ends_and_leaves_no_hook(embedded: Workbench) -> None:
    asked: list[bool] = []

    def after(count: int) -> Callable[[], bool]:
        def cancelled() -> bool:
            asked.append(True)
            return len(asked) > count

        return cancelled

    with pytest.raises(Cancelled):
        compare_tokens(embedded, PROMPT, CONCEPT, LAYER, STRENGTH, job=Job(cancelled=after(20)))
    assert not any(module._forward_hooks for module in embedded.language().model.modules())
