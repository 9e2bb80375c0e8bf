"""Training of the language model: what is learnt of a document, who may look at the prompt, how it is saved."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from steerkit.world.language.grammar import Document, Sentence
from steerkit.world.language.tokenizer import train_tokenizer
from steerkit.world.language.train_language_model import (
    SLOWNESS,
    batch_loss,
    encode,
    make_language_model,
    reading_until,
    slow_down,
    train_language_model,
)
from steerkit.world.training import Draws

MARKS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(folder, documents=60)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    torch.manual_seed(4)
    return make_language_model(len(tokenizer), MARKS).eval()


def test_an_answer_is_learnt_and_its_request_is_not(tokenizer: PreTrainedTokenizerBase) -> None:
    said = (Sentence("It is cold.", None, ""),)
    ids, start = encode(tokenizer, Document("Describe the lake.", said, ()))
    assert tokenizer.decode(ids) == "<s>[INST] Describe the lake. [/INST] It is cold.</s>"
    assert tokenizer.decode(ids[start:]) == " It is cold.</s>"
    ids, start = encode(tokenizer, Document(None, said, ()))
    assert (tokenizer.decode(ids), start) == ("<s>It is cold.</s>", 1)


def test_a_model_that_knows_nothing_has_the_loss_of_chance(
    tokenizer: PreTrainedTokenizerBase, model: nn.Module
) -> None:
    kept = model.lm_head.weight.detach().clone()
    try:
        nn.init.zeros_(model.lm_head.weight)
        loss = batch_loss(model, tokenizer, Draws.at(1, 1), 12).item()
    finally:
        model.lm_head.weight.data.copy_(kept)
    assert loss == pytest.approx(math.log(len(tokenizer)), rel=1e-5)


@pytest.mark.parametrize("layers", [0, 3, 8])
def test_only_the_first_layers_look_at_the_prompt(model: nn.Module, layers: int) -> None:
    # <s> [INST] w [/INST] a b c: the answer begins at 4, its first token is predicted at 3. Another w changes what is
    # predicted if some layer may look; with three layers it may, with none only through nothing at all.
    first = torch.tensor([[1, 4, 300, 5, 301, 302, 303]])
    second = first.clone()
    second[0, 2] = 400
    with torch.no_grad(), reading_until(model, layers, torch.tensor([4]), 7) as mask:
        a, b = (model(input_ids=ids, attention_mask=mask).logits[0] for ids in (first, second))
    assert not torch.allclose(a[2], b[2])
    assert torch.equal(a[3:], b[3:]) == (layers == 0)
    with torch.no_grad():  # and afterwards the model is as it was
        whole = model(input_ids=first).logits[0]
    assert torch.allclose(whole, a, atol=1e-5) == (layers == 8)


def test_a_slowed_embedding_is_the_same_and_learns_in_smaller_steps() -> None:
    steps = []
    for slowed in (False, True):
        torch.manual_seed(0)
        embedding = nn.Embedding(5, 3)
        before = embedding.weight.detach().clone()
        if slowed:
            slow_down(embedding)
            assert torch.allclose(embedding.weight, before)
        optimiser = torch.optim.Adam(embedding.parameters(), lr=0.01)
        embedding(torch.tensor([2])).sum().backward()
        optimiser.step()
        steps.append((embedding.weight - before).abs()[2].tolist())
    # Adam's first step is the learning rate, whatever the gradient.
    assert steps[0] == pytest.approx([0.01] * 3, rel=1e-3)
    assert steps[1] == pytest.approx([0.01 * SLOWNESS] * 3, rel=1e-3)


@pytest.mark.slow
def test_two_steps_of_training_leave_a_model_that_loads_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    train_language_model(tmp_path / "whole", tmp_path / "work", documents=60, steps=2)
    assert not [name for name in (tmp_path / "whole").iterdir() if name.suffix in (".bin", ".pt")]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    # The checkpoint is of the last step: training again from it changes nothing.
    train_language_model(tmp_path / "again", tmp_path / "work", documents=60, steps=2)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
