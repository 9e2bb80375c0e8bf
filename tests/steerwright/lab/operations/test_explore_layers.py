import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.operations.explore_layers import explore_layers, settled_by
from steerwright.lab.workbench import Workbench

PROMPT = "Tell me about the lake."


@pytest.fixture(scope="module")
def states(embedded: Workbench) -> tuple[str, list[int], int, torch.Tensor]:
    """Another route to the same streams: transformers' own greedy text, and its `output_hidden_states`."""
    model = embedded.language()
    ids = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    with torch.inference_mode():
        whole = model.model.generate(ids, max_new_tokens=10, do_sample=False)
        hidden = model.model(whole, output_hidden_states=True).hidden_states
    written = whole[0, ids.shape[1] :].tolist()
    return model.tokenizer.decode(written, skip_special_tokens=True), written, ids.shape[1], torch.stack(hidden)[:, 0]


def test_norms_are_those_of_the_states_that_transformers_gives(
    embedded: Workbench, states: tuple[str, list[int], int, torch.Tensor]
) -> None:
    text, written, start, hidden = states
    found = explore_layers(embedded, PROMPT, tokens=10)
    assert found.answer == text
    assert "".join(found.words) == text
    places = slice(start - 1, start - 1 + len(written))
    # hidden_states[0] is the embedding; the last one lies behind the final norm, so it is left out.
    expected = hidden[1:-1, places].norm(dim=-1).mean(1)
    torch.testing.assert_close(torch.tensor(found.norms[:-1]), expected, rtol=1e-4, atol=1e-4)
    added = (hidden[2:-1, places] - hidden[1:-2, places]).norm(dim=-1) / hidden[1:-2, places].norm(dim=-1)
    torch.testing.assert_close(torch.tensor(found.written[1:-1]), added.mean(1), rtol=1e-4, atol=1e-4)


def test_guesses_are_what_the_models_own_norm_and_head_make_of_each_layer(
    embedded: Workbench, states: tuple[str, list[int], int, torch.Tensor]
) -> None:
    _, written, start, hidden = states
    model = embedded.language()
    found = explore_layers(embedded, PROMPT, tokens=10)
    places = slice(start - 1, start - 1 + len(written))
    with torch.inference_mode():
        logits = model.model.lm_head(model.model.model.norm(hidden[1:-1, places]))
    best = logits.log_softmax(-1).exp().max(-1)
    for layer in range(found.layers - 1):
        guesses = [place[0] for place in found.guesses[layer]]
        assert [guess.token for guess in guesses] == [model.tokenizer.decode([token]) for token in best.indices[layer]]
        torch.testing.assert_close(
            torch.tensor([guess.probability for guess in guesses]), best.values[layer], rtol=1e-3, atol=1e-4
        )


def test_the_last_layer_says_what_was_written_and_each_word_is_settled_from_its_layer_on(embedded: Workbench) -> None:
    found = explore_layers(embedded, PROMPT, tokens=10)
    assert tuple(place[0].token for place in found.guesses[-1]) == found.words
    for place, layer in enumerate(found.settled):
        column = [row[place][0].token for row in found.guesses]
        assert set(column[layer:]) == {column[-1]}
        assert layer == 0 or column[layer - 1] != column[-1]
    shares = settled_by(found)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("prompt", ["", "   ", None, 7, "x" * 3000])
def test_a_prompt_that_cannot_be_asked_is_refused_by_name(embedded: Workbench, prompt: object) -> None:
    with pytest.raises(UserError, match="prompt"):
        explore_layers(embedded, prompt)
