"""Steering texts: the right tokens under padding, cache and batching, held against one row at a time by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from steerwright.activations.residuals import residuals
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.language.encode import encode, encode_texts, last_tokens
from steerwright.models.language.load import load_language_model
from steerwright.models.language.spec import LanguageSpec
from steerwright.steering.algebra import Cap, Edit, KeepNorm
from steerwright.steering.gates import InImage, WherePresent
from steerwright.steering.language.apply import steer_text
from steerwright.steering.language.generate import Sampling, complete
from steerwright.steering.language.log_probs import token_log_probs
from steerwright.steering.operators import Add, ProjectOut, Replace, Scale, Switch
from steerwright.vectors.direction import Direction, normalised

PROMPTS = ["Tell me about the lake.", "The old house?", "Tell me about the market by the lake, and the boat."]
TOKENS = 8
GREEDY = Sampling(max_new_tokens=TOKENS, temperature=0)
SAMPLED = Sampling(max_new_tokens=TOKENS, temperature=1.0)
POLICIES = ["last", "generated", "all", "span:0:2", "span:-2:", "span:1:-1", "sentences:10", "sentences:011"]


def direction(seed: int = 3, width: int = 32) -> Direction:
    return normalised(torch.randn(width, generator=torch.Generator().manual_seed(seed)))


def add(model: Any, strength: Any, tokens: Any = "last", layer: int = 1, **more: Any) -> Edit:
    return Edit(model.hookpoints[layer], Add(direction(width=model.width), "relative"), strength, tokens=tokens, **more)


def places(model: Any, ids: list[int], start: int, content: list[int], policy: str) -> list[int]:
    """The places of one text without padding, answered from `start` on, that `policy` means: said again, by hand."""
    length = len(ids)
    match policy.split(":"):
        case ["last"]:
            return list(range(start - 1, length))
        case ["generated"]:
            return list(range(start, length))
        case ["all"]:
            return [place for place in range(length) if place > 0 or ids[0] != model.tokenizer.bos_token_id]
        case ["span", first, stop]:
            return content[int(first or 0) : int(stop) if stop else None]
        case ["sentences", pattern]:
            wanted, sentence = [], 0
            for at in range(start - 1, length):
                sentence += at >= start and model.tokenizer.decode([ids[at]]).strip()[-1:] in tuple(".!?")
                wanted += [at] if pattern[sentence % len(pattern)] == "1" else []
            return wanted
    raise AssertionError(policy)


def written_by_hand(model: Any, prompt: str, strength: float, policy: str, tokens: int = TOKENS) -> list[int]:
    """Greedy tokens of one prompt: no cache, no padding, every step the whole text, the edit by a hook of its own."""
    encoded = encode(model, [prompt])
    prompt_ids = encoded.ids[0].tolist()
    content = encoded.content[0].nonzero().flatten().tolist()
    block = model.model.get_submodule(model.hookpoints[1].path)
    unit, ids = direction(width=model.width).unit, list(prompt_ids)

    def hook(_: Any, __: Any, output: Any) -> Any:
        acts = output[0] if isinstance(output, tuple) else output
        moved = acts.clone()
        for place in places(model, ids, len(prompt_ids), content, policy):
            moved[0, place] = acts[0, place] + strength * acts[0, place].norm() * unit
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    for _ in range(tokens):
        handle = block.register_forward_hook(hook)
        logits = model.model(input_ids=torch.tensor([ids]), use_cache=False).logits
        handle.remove()
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] in model.ends:
            return ids[len(prompt_ids) : -1]
    return ids[len(prompt_ids) :]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_batch_with_a_cache_is_each_row_by_hand(
    language: Callable[[str], Any], language_shape: str, policy: str
) -> None:
    model = language(language_shape)
    strengths = [1.2, 0.0, -0.8]
    found = complete(model, PROMPTS, [0, 0, 0], GREEDY, [add(model, torch.tensor(strengths), policy)])
    for prompt, strength, one in zip(PROMPTS, strengths, found, strict=True):
        assert list(one.tokens) == written_by_hand(model, prompt, strength, policy)


def test_sentences_are_told_apart_as_they_are_written() -> None:
    model = load_language_model(LanguageSpec(name="seasons-lm", source="models/seasons-lm"))
    sampling = Sampling(max_new_tokens=30, temperature=0)
    prompts = ["Tell me about the garden.", "Say something about the old harbour and the stars, at length."]
    different = set()
    for policy in ("sentences:10", "sentences:01", "sentences:11"):
        found = complete(model, prompts, [0, 0], sampling, [add(model, 0.9, policy)])
        for prompt, one in zip(prompts, found, strict=True):
            assert list(one.tokens) == written_by_hand(model, prompt, 0.9, policy, 30)
        different.add(found[0].tokens)
    assert len(different) == 3  # more than a sentence was written, and each was steered or not
    read = token_log_probs(model, found, [add(model, 0.9, "sentences:11")])
    assert torch.allclose(read[0], token_log_probs(model, found, [add(model, 0.9, "last")])[0], atol=1e-5)


def test_what_is_written_depends_on_the_tokens_that_are_steered(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    texts = {
        policy: complete(model, [PROMPTS[2]], [0], GREEDY, [add(model, 2.0, policy)])[0].tokens for policy in POLICIES
    }
    plain = complete(model, [PROMPTS[2]], [0], GREEDY)[0].tokens
    assert len({plain, *texts.values()}) >= 5


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_strength_zero_is_the_same_text_and_installs_nothing(
    language: Callable[[str], Any], language_shape: str, sampling: Sampling
) -> None:
    model = language(language_shape)
    plain = complete(model, PROMPTS, [1, 2, 3], sampling)
    assert complete(model, PROMPTS, [1, 2, 3], sampling, [add(model, 0.0), add(model, torch.zeros(3))]) == plain
    before = hooks(model)
    with steer_text(model, [add(model, 0.0)]):
        assert hooks(model) == before
    half = complete(model, PROMPTS, [1, 2, 3], sampling, [add(model, torch.tensor([0.0, 3.0, 0.0]), "all")])
    assert [half[0], half[2]] == [plain[0], plain[2]]
    assert half[1].tokens != plain[1].tokens


def test_strength_zero_for_a_row_keeps_its_bits(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    encoded = encode_texts(model, PROMPTS)
    plain = residuals(model, encoded)
    with steer_text(model, [add(model, torch.tensor([0.0, 1.0, 0.0]), "all")]):
        steered = residuals(model, encoded)
    assert torch.equal(steered[:, [0, 2]], plain[:, [0, 2]])
    assert not torch.equal(steered[:, 1], plain[:, 1])


@pytest.mark.parametrize("padding", ["left", "right"])
def test_padded_batches_are_steered_at_the_true_last_token(
    language: Callable[[str], Any], language_shape: str, padding: Any
) -> None:
    model = language(language_shape)
    encoded = encode(model, PROMPTS, padding=padding)
    plain = residuals(model, encoded)
    with steer_text(model, [add(model, 0.7)]):
        steered = residuals(model, encoded)
    moved = (steered[1] - plain[1]).norm(dim=-1) > 0
    expected = torch.zeros_like(encoded.mask)
    expected[torch.arange(3), last_tokens(encoded)] = True
    assert torch.equal(moved, expected)
    share = (steered[1] - plain[1]).norm(dim=-1)[expected] / plain[1].norm(dim=-1)[expected]
    assert torch.allclose(share, torch.full((3,), 0.7), atol=1e-4)
    for row, prompt in enumerate(PROMPTS):
        with steer_text(model, [add(model, 0.7)]):
            alone = residuals(model, encode(model, [prompt]))[:, 0]
        assert torch.allclose(steered[:, row][:, encoded.mask[row]], alone, atol=1e-4)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("shape", ["mistral", "qwen2", "gpt2"])
def test_all_tokens_are_all_but_padding_and_bos(language: Callable[[str], Any], shape: str, padding: Any) -> None:
    model = language(shape)
    encoded = encode(model, PROMPTS, padding=padding)
    plain = residuals(model, encoded)
    with steer_text(model, [add(model, 0.7, "all")]):
        moved = (residuals(model, encoded)[1] - plain[1]).norm(dim=-1) > 0
    expected = encoded.mask.clone()
    if shape == "mistral":  # the only one of these whose tokenizer has a BOS
        expected &= encoded.ids != model.tokenizer.convert_tokens_to_ids("<s>")
        assert (encoded.mask & ~expected).sum() == 3
    assert torch.equal(moved, expected)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_a_cache_changes_nothing(language: Callable[[str], Any], shape: str, policy: str) -> None:
    model = language(shape)
    encoded = encode(model, PROMPTS)
    settings = {"max_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}

    def generated(use_cache: bool) -> Tensor:
        with steer_text(model, [add(model, 1.2, policy)], encoded.mask.sum(1), content=encoded.content):
            return model.model.generate(
                encoded.ids, attention_mask=encoded.mask.long(), use_cache=use_cache, **settings
            )

    assert torch.equal(generated(True), generated(False))


def test_prompts_of_plain_generate_need_no_lengths(language: Callable[[str], Any]) -> None:
    """As anybody calls transformers: the first forward is the prompt."""
    model = language("mistral")
    encoded = encode(model, PROMPTS)
    for policy in ("last", "generated", "all"):
        with steer_text(model, [add(model, 1.2, policy)]):
            found = model.model.generate(
                encoded.ids, attention_mask=encoded.mask.long(), max_new_tokens=TOKENS, do_sample=False, pad_token_id=0
            )[:, encoded.ids.shape[1] :]
        expected = complete(model, PROMPTS, [0, 0, 0], GREEDY, [add(model, 1.2, policy)])
        assert [tuple(row[: len(one.tokens)].tolist()) for row, one in zip(found, expected, strict=True)] == [
            one.tokens for one in expected
        ]


def test_a_forward_without_a_mask_has_no_padding(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    ids = encode(model, [PROMPTS[0]]).ids
    with steer_text(model, [add(model, 1.2)]):
        bare = model.model(ids).logits
        masked = model.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert torch.equal(bare, masked)
    assert not torch.equal(bare, model.model(ids).logits)


def test_a_mask_means_columns_of_the_prompt(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    encoded = encode_texts(model, PROMPTS)
    mask = torch.zeros_like(encoded.mask)
    mask[0, 2], mask[1, 3], mask[1, -1] = True, True, True
    assert not encoded.mask[1, -1], "padding, which is not steered"
    plain = residuals(model, encoded)
    with steer_text(model, [add(model, 1.0, mask)]):
        moved = (residuals(model, encoded)[1] - plain[1]).norm(dim=-1) > 0
    assert moved.nonzero().tolist() == [[0, 2], [1, 3]]
    with steer_text(model, [add(model, 1.0, mask[:, :-1])]), pytest.raises(UserError, match="mask is"):
        residuals(model, encoded)


def hooks(model: Any) -> list[int]:
    return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.model.modules()]


def test_nothing_stays_after_the_block_or_an_exception(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    before, plain = hooks(model), complete(model, PROMPTS, [1, 2, 3], SAMPLED)
    edit = add(model, 5.0, "all")
    with pytest.raises(RuntimeError, match="stop"), steer_text(model, [edit]):
        assert hooks(model) != before
        raise RuntimeError("stop")
    assert hooks(model) == before

    def stop(row: int, token: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        complete(model, PROMPTS, [1, 2, 3], SAMPLED, [edit], on_tokens=stop)
    assert hooks(model) == before
    assert complete(model, PROMPTS, [1, 2, 3], SAMPLED) == plain


def test_a_second_edit_sees_what_the_first_made_also_in_a_block_inside(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    encoded = encode_texts(model, PROMPTS)
    first = Edit(model.hookpoints[1], Add(direction(), "unit"), 2.0, tokens="all")
    second = Edit(model.hookpoints[1], Scale(direction(), 3.0), 1.0, tokens="all")
    plain = residuals(model, encoded)[1]
    with steer_text(model, [first, second]):
        together = residuals(model, encoded)[1]
    with steer_text(model, [first]), steer_text(model, [second]):
        nested = residuals(model, encoded)[1]
    assert torch.equal(together, nested)
    unit = direction().unit
    one = plain + 2.0 * unit
    expected = one + 2.0 * (one @ unit)[..., None] * unit
    own = encoded.mask & (encoded.ids != model.tokenizer.bos_token_id)
    assert torch.allclose(together[own], expected[own], atol=1e-4)
    with steer_text(model, [second, first]):
        assert not torch.allclose(residuals(model, encoded)[1][own], expected[own], atol=1e-2)


UNIT = direction().unit
OTHER = direction(9).unit
CENTRED = Direction(direction().unit, torch.tensor(2.0), torch.tensor(0.5))


def after(acts: Tensor) -> dict[str, Tensor]:
    """What each operator is to make of `acts`, from the formulas."""
    along = (acts @ UNIT)[..., None]
    norm = acts.norm(dim=-1, keepdim=True)
    moved = acts + 0.5 * norm * UNIT
    return {
        "relative": moved,
        "unit": acts + 0.5 * UNIT,
        "raw": acts + 0.5 * direction().norm * UNIT,
        "keep": moved * norm / moved.norm(dim=-1, keepdim=True),
        "cap": acts + 0.2 * norm * UNIT,
        "remove": acts - along.clamp(min=0) * UNIT,
        "centred": acts - (along - 0.5).clamp(min=0) * UNIT,
        "switch": acts + along.clamp(min=0) * (OTHER - UNIT),
        "scale": acts + (0.25 - 1) * along * UNIT,
        "replace": torch.ones_like(acts),
        "gate": torch.where(along > 0.3, acts + 0.5 * UNIT, acts),
    }


EDITS: dict[str, tuple[Any, float, dict[str, Any]]] = {
    "relative": (Add(direction(), "relative"), 0.5, {}),
    "unit": (Add(direction(), "unit"), 0.5, {}),
    "raw": (Add(direction(), "raw"), 0.5, {}),
    "keep": (Add(direction(), "relative"), 0.5, {"bound": KeepNorm()}),
    "cap": (Add(direction(), "relative"), 0.5, {"bound": Cap(0.2)}),
    "remove": (ProjectOut(direction()), 1.0, {}),
    "centred": (ProjectOut(CENTRED, centred=True), 1.0, {}),
    "switch": (Switch(direction(), direction(9)), 1.0, {}),
    "scale": (Scale(direction(), 0.25), 1.0, {}),
    "replace": (Replace(torch.ones(32)), 1.0, {}),
    "gate": (Add(direction(), "unit"), 0.5, {"gate": WherePresent(direction(), 0.3)}),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_operator_bound_and_gate_is_its_formula(language: Callable[[str], Any], name: str) -> None:
    model = language("llama")
    operator, strength, more = EDITS[name]
    encoded = encode_texts(model, PROMPTS, padding="left")
    plain = residuals(model, encoded)[2]
    with steer_text(model, [Edit(model.hookpoints[2], operator, strength, tokens="all", **more)]):
        steered = residuals(model, encoded)[2]
    own = encoded.mask & (encoded.ids != model.tokenizer.bos_token_id)
    assert torch.allclose(steered[own], after(plain)[name][own], atol=1e-4)
    assert torch.equal(steered[encoded.mask & ~own], plain[encoded.mask & ~own])


def test_inputs_and_updates_of_modules_can_be_edited(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    encoded = encode_texts(model, [PROMPTS[0]])
    plain = residuals(model, encoded)
    entering = Edit(Hookpoint("model.layers.2", "in"), Add(direction(), "unit"), 2.0, tokens="all")
    leaving = Edit(Hookpoint("model.layers.1", "out"), Add(direction(), "unit"), 2.0, tokens="all")
    with steer_text(model, [entering]):
        first = residuals(model, encoded)
    with steer_text(model, [leaving]):
        second = residuals(model, encoded)
    assert torch.equal(first[2:], second[2:]), "what leaves a layer enters the next"
    assert torch.equal(first[1], plain[1])
    nothing = Edit(Hookpoint("model.layers.2", "update"), Replace(torch.zeros(32)), 1.0, tokens="last")
    with steer_text(model, [nothing]):
        passed = residuals(model, encoded)
    assert torch.allclose(passed[2, 0, -1], plain[1, 0, -1], atol=1e-5), "a layer that adds nothing hands on its input"
    assert torch.equal(passed[2, 0, :-1], plain[2, 0, :-1])


def test_two_models_are_steered_side_by_side(language: Callable[[str], Any]) -> None:
    """Nothing is global: each block has its own model, prompts and strengths."""
    one, two = language("mistral"), language("gpt2")
    expected = [complete(model, PROMPTS, [1, 2, 3], SAMPLED, [add(model, 1.0)]) for model in (one, two)]

    @contextmanager
    def both() -> Iterator[None]:
        with steer_text(one, [add(one, 9.0, "span:0:1")]), steer_text(two, [add(two, 0.0)]):
            yield

    with both():
        assert complete(two, PROMPTS, [1, 2, 3], SAMPLED, [add(two, 1.0)]) == expected[1]
    assert complete(one, PROMPTS, [1, 2, 3], SAMPLED, [add(one, 1.0)]) == expected[0]


def test_layers_that_are_brought_in_one_by_one_are_steered_alike(
    language: Callable[[str], Any], language_folder: Callable[[str], Any]
) -> None:
    """As with a device map that leaves layers outside of a GPU."""
    from accelerate import cpu_offload

    from steerwright.models.language.load import load_language_model
    from steerwright.models.language.spec import LanguageSpec

    spec = LanguageSpec(name="spread", source=str(language_folder("mistral")))
    spread = load_language_model(spec, device=torch.device("cpu"))
    cpu_offload(spread.model, execution_device=torch.device("cpu"))
    edits = [add(spread, 1.0)]
    assert complete(spread, PROMPTS, [1, 2, 3], SAMPLED, edits) == complete(
        language("mistral"), PROMPTS, [1, 2, 3], SAMPLED, edits
    )


def test_half_precision_is_steered_in_its_own_precision(language_folder: Callable[[str], Any]) -> None:
    from steerwright.models.language.load import load_language_model
    from steerwright.models.language.spec import LanguageSpec

    spec = LanguageSpec(name="half", source=str(language_folder("mistral")), dtype="bfloat16")
    model = load_language_model(spec, device=torch.device("cpu"))
    encoded = encode(model, PROMPTS)
    with steer_text(model, [add(model, 0.5)]):
        assert residuals(model, encoded).dtype == torch.bfloat16
    assert all(one.tokens for one in complete(model, PROMPTS, [1, 2, 3], SAMPLED, [add(model, 0.5)]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tokens": "eos"}, "Tokens 'eos' .* do not exist in a text; choose last, generated, all, span"),
        ({"tokens": "span:a:b"}, "do not exist in a text"),
        ({"tokens": torch.ones(3)}, "must be bool"),
        ({"steps": (0, 3)}, "denoising steps"),
        ({"branch": "uncond"}, "branch of guidance"),
        ({"gate": InImage(Hookpoint("unet.mid_block"), CENTRED)}, "gate that looks at pictures"),
        ({"hookpoint": Hookpoint("model.layers.9")}, r"no module 'model\.layers\.9'"),
        ({"operator": Add(normalised(torch.ones(16)), "unit")}, r"made for tensors ending in \[16\]"),
        ({"strength": torch.ones(2)}, "strengths for 2 images"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(
    language: Callable[[str], Any], more: dict[str, Any], message: str
) -> None:
    model = language("mistral")
    given = {"hookpoint": model.hookpoints[1], "operator": Add(direction(), "unit"), "strength": 1.0, "tokens": "last"}
    with pytest.raises(UserError, match=message), steer_text(model, [Edit(**{**given, **more})]):  # type: ignore[arg-type]
        residuals(model, encode(model, PROMPTS))


@pytest.mark.parametrize(
    "more",
    [
        {"strength": torch.ones(2)},
        {"tokens": torch.ones(2, 9, dtype=torch.bool)},
        {"operator": Replace(torch.zeros(2, 9, 32))},
    ],
)
def test_what_is_given_row_by_row_is_given_for_every_row(language: Callable[[str], Any], more: dict[str, Any]) -> None:
    model = language("mistral")
    given = {"hookpoint": model.hookpoints[1], "operator": Add(direction(), "unit"), "strength": 1.0, "tokens": "last"}
    edit = Edit(**{**given, **more})  # type: ignore[arg-type]
    for prompts in (PROMPTS, PROMPTS[:1]):
        with pytest.raises(UserError, match=rf"for 2 texts, but there are {len(prompts)}"):
            complete(model, prompts, [0] * len(prompts), GREEDY, [edit])
    with pytest.raises(UserError, match="for 2 texts, but there are 1"):
        token_log_probs(model, complete(model, PROMPTS[:1], [0], GREEDY), [edit])


def test_lengths_and_masks_of_other_batches_are_refused(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    encoded = encode(model, PROMPTS)
    with steer_text(model, [add(model, 1.0)], torch.ones(2)), pytest.raises(UserError, match="2 prompt lengths"):
        residuals(model, encoded)
    four = encoded.mask[:, None, None, :].float()
    with steer_text(model, [add(model, 1.0)]), pytest.raises(UserError, match="padding cannot be told"):
        model.model(input_ids=encoded.ids, attention_mask=four)
