"""Training of the language model: what is learnt of a document, who may look at the prompt, how it is saved."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from seasons.language.grammar import Document, Sentence
from seasons.training import Draws
from tasks.world.language_model import (
    batch_loss,
    encode,
    fit_language_model,
    make_language_model,
    train_tokenizer,
)

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


@pytest.mark.slow
def test_two_steps_of_training_leave_a_model_that_loads_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    fit_language_model(tmp_path / "whole", tmp_path / "work", documents=60, steps=2)
    assert not [name for name in (tmp_path / "whole").iterdir() if name.suffix in (".bin", ".pt")]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    # The checkpoint is of the last step: training again from it changes nothing.
    fit_language_model(tmp_path / "again", tmp_path / "work", documents=60, steps=2)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
