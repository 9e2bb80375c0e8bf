"""The world's vocabulary in transformers' and open_clip's form."""

from pathlib import Path

import numpy as np
import pytest

from seasons.captions import caption
from seasons.scene import sample_scene
from seasons.tokenizer import MAX_TOKENS, learn_merges, train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(path, captions=2000)
    return path


def test_captions_fit_and_read_back(folder: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)
    rng = np.random.default_rng(1)
    for _ in range(300):
        text = caption(sample_scene(rng), rng)
        ids = tokenizer(text).input_ids
        assert len(ids) <= MAX_TOKENS
        assert tokenizer.decode(ids[1:-1]).replace(" ,", ",").strip() == text


def test_the_end_mark_has_the_highest_id_and_pads(folder: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)
    ids = tokenizer("a red house", padding="max_length", max_length=MAX_TOKENS).input_ids
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == len(tokenizer) - 1 == ids[-1]
    assert ids[0] == tokenizer.bos_token_id == len(tokenizer) - 2


def test_words_outside_the_world_are_spelt_out_not_lost(folder: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("xylophone 7 café").input_ids[1:-1]).strip() == "xylophone 7 café"


def test_training_twice_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    train_tokenizer(tmp_path, captions=2000)
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_merges_by_hand() -> None:
    # "aab" three times, "ab" twice: a+b</w> occurs 5 times, a+a 3 times; then a+ab</w> 3 times.
    assert learn_merges({"aab": 3, "ab": 2}, limit=9) == [("a", "b</w>"), ("a", "ab</w>")]
    # b</w>+nothing; x+y</w> and c+d</w> are equally frequent: the smaller pair goes first.
    assert learn_merges({"xy": 2, "cd": 2}, limit=9) == [("c", "d</w>"), ("x", "y</w>")]
