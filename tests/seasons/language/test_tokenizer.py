"""The language world's vocabulary: any text reads back, and chats look as Mistral-Instruct's do."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from seasons.language.grammar import document
from tasks.world.language_model import byte_pair_merges, train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(path, documents=120)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def test_merges_by_hand() -> None:
    # "aab" three times, "ab" twice: a+b occurs 5 times, a+a 3 times; then a+ab 3 times.
    assert byte_pair_merges({"aab": 3, "ab": 2}, limit=9) == [("a", "b"), ("a", "ab")]
    # x+y and c+d are equally frequent: the smaller pair goes first. A limit of one token stops there.
    assert byte_pair_merges({"xy": 2, "cd": 2}, limit=9) == [("c", "d"), ("x", "y")]
    assert byte_pair_merges({"xy": 2, "cd": 2}, limit=1) == [("c", "d")]
    # An overlap is merged from the left: aaa is aa+a.
    assert byte_pair_merges({"aaa": 1}, limit=9) == [("a", "a"), ("aa", "a")]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_reads_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    marks = ("<s>", "</s>", "<pad>", "<unk>", "[INST]", "[/INST]")
    if not any(mark in text for mark in marks):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text


def test_documents_read_back_and_begin_with_the_start_mark(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = np.random.default_rng(8)
    for _ in range(100):
        text = document(rng).text
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_a_chat_looks_as_mistral_instruct_writes_it(tokenizer: PreTrainedTokenizerBase) -> None:
    asked = {"role": "user", "content": "Describe the lake."}
    said = {"role": "assistant", "content": "It is cold."}
    assert tokenizer.apply_chat_template([asked], tokenize=False) == "<s>[INST] Describe the lake. [/INST]"
    assert (
        tokenizer.apply_chat_template([asked, said, asked], tokenize=False)
        == "<s>[INST] Describe the lake. [/INST] It is cold.</s>[INST] Describe the lake. [/INST]"
    )
    ids = tokenizer("<s>[INST] a [/INST] b</s>", add_special_tokens=False).input_ids
    assert [ids[0], ids[1], ids[-3], ids[-1]] == tokenizer.convert_tokens_to_ids(["<s>", "[INST]", "[/INST]", "</s>"])
    with pytest.raises(Exception, match="two roles"):
        tokenizer.apply_chat_template([{"role": "system", "content": "x"}], tokenize=False)


def test_the_marks_are_four_different_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    marks = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    assert marks == {0, 1, 2, 3}
    assert tokenizer.padding_side == "left"


def test_training_twice_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    train_tokenizer(tmp_path, documents=120)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
