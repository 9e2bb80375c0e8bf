"""The residual stream of texts in a store, against one forward over each text alone with transformers' own outputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.activations.residuals import AnsweredText, collect_residuals, pooled_texts
from steerwright.activations.store.reader import open_store
from steerwright.errors import UserError
from steerwright.models.language.encode import encode_texts
from steerwright.models.language.load import LanguageModel, load_language_model
from steerwright.models.language.spec import LanguageSpec

TEXTS = {
    "happy-0:positive": AnsweredText("What a lovely lake!", "Tell me about the lake."),
    "happy-0:negative": AnsweredText("The lake is deep and cold, and boats cross it.", "Tell me about the lake."),
    "happy-1:positive": AnsweredText("Joy.", "Describe the market."),
    "happy-1:negative": AnsweredText("The market opens at eight.", "Describe the market."),
    "sad-0:positive": AnsweredText("Nobody comes to the lake any more."),
    "sad-0:negative": AnsweredText("The lake is deep."),
}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model(LanguageSpec(name="seasons-lm", source="models/seasons-lm"), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def alone(model: LanguageModel) -> Mapping[str, torch.Tensor]:
    """By text: the hidden states of its own tokens after every block [layers, tokens, d], without padding or batch."""
    found = {}
    # transformers puts the final norm into the last hidden state; the blocks' own outputs are asked for instead.
    for id_, one in TEXTS.items():
        encoded = encode_texts(model, [one.text], [one.prompt])
        outputs: list[Any] = []
        blocks = model.model.model.layers
        hooks = [
            block.register_forward_hook(lambda _, __, output, kept=outputs: kept.append(output)) for block in blocks
        ]
        with torch.inference_mode():
            model.model(input_ids=encoded.ids)
        for hook in hooks:
            hook.remove()
        first = [output[0] if isinstance(output, tuple) else output for output in outputs]
        found[id_] = torch.stack([output[0][encoded.content[0]] for output in first])
    return found


@pytest.mark.parametrize(("engine", "padding"), [("hooks", "right"), ("hooks", "left"), ("nnsight", "right")])
def test_the_store_holds_each_texts_own_tokens_whatever_stood_beside_it(
    model: LanguageModel, alone: Mapping[str, torch.Tensor], tmp_path: Path, engine: Any, padding: Any
) -> None:
    computed = collect_residuals(model, TEXTS, tmp_path, shards=2, engine=engine, padding=padding, batch_size=4)
    store = open_store(tmp_path)
    assert len(computed) == len(store.manifest.shards)
    assert [point.path for point in store.hookpoints] == [f"model.layers.{layer}" for layer in range(8)]
    ids = list(TEXTS)
    for layer, hookpoint in enumerate(store.hookpoints):
        index = store.index(hookpoint)
        counts = dict(index.group_by("prompt").len().iter_rows())
        assert counts == {id_: alone[id_].shape[1] for id_ in ids}
        expected = torch.stack([alone[id_][layer].mean(0) for id_ in ids])
        assert torch.allclose(pooled_texts(store, hookpoint, ids, "content"), expected, atol=2e-4)
        last = torch.stack([alone[id_][layer][-1] for id_ in ids])
        assert torch.allclose(pooled_texts(store, hookpoint, ids, "last"), last, atol=2e-4)
        two = torch.stack([alone[id_][layer][-2:].mean(0) for id_ in ids])
        assert torch.allclose(pooled_texts(store, hookpoint, ids, "span:-2:"), two, atol=2e-4)


def test_a_request_ends_where_its_answer_would_begin(model: LanguageModel, tmp_path: Path) -> None:
    collect_residuals(
        model, {"a:x": AnsweredText("Tell me about the lake.")}, tmp_path, shards=1, engine="hooks", role="user"
    )
    index = open_store(tmp_path).index(model.hookpoints[0])
    encoded = encode_texts(model, ["Tell me about the lake."], role="user")
    # The template's last token is kept beside the words, and is none of them.
    assert index["token_type"].to_list() == ["content"] * int(encoded.content.sum()) + ["eos"]
    assert index["token"][-1] == encoded.ids.shape[1] - 1
    with torch.inference_mode():
        whole = model.model(input_ids=encoded.ids, output_hidden_states=True).hidden_states[3][0, -1]
    assert torch.allclose(pooled_texts(open_store(tmp_path), model.hookpoints[2], ["a:x"], "last")[0], whole, atol=2e-4)


def test_a_longer_text_elsewhere_costs_its_own_shard_alone(model: LanguageModel, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    collect_residuals(model, TEXTS, first, shards=8, engine="hooks")
    earlier = {path.name: path for path in first.iterdir()}
    longer = TEXTS | {"sad-0:negative": AnsweredText("The lake is deep. " * 12)}
    assert len(collect_residuals(model, longer, second, shards=8, engine="hooks", earlier=earlier)) == 1
    assert collect_residuals(model, longer, second, shards=8, engine="hooks") == []


def test_a_text_that_is_not_there_or_too_short_is_named(model: LanguageModel, tmp_path: Path) -> None:
    collect_residuals(model, TEXTS, tmp_path, shards=1, engine="hooks")
    store, point = open_store(tmp_path), model.hookpoints[0]
    for ids, policy, said in (
        (["angry-0:positive"], "last", "no text 'angry-0:positive'"),
        (["happy-1:positive"], "span:40:", "no token of the text 'happy-1:positive'"),
        (["happy-1:positive"], "mean", "choose last, content"),
    ):
        with pytest.raises(UserError, match=said):
            pooled_texts(store, point, ids, policy)
