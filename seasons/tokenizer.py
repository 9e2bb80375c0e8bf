"""The world's vocabulary: a byte-level BPE in CLIP's form, trained on its captions.

Any text tokenises (every byte is a token), so a user's own words never fail; unknown ones are just spelt out.
"""

import json
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from seasons.captions import caption
from seasons.scene import sample_scene

MAX_TOKENS = 24
START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
# Words that people are likely to try, although no caption of the world holds them.
EXTRA_WORDS = (
    "snow ice icy cold frost frosty freezing white green warm hot beach rain cloud sky flower leaf tree style sketch"
    " happy sad formal of the with and without no not very landscape scene view child dog bird person man woman forest"
    " desert season weather sunny cloudy bright dark garden park river road bench"
)


def train_tokenizer(folder: Path, captions: int = 20000, seed: int = 5) -> None:
    """Write vocab.json, merges.txt, tokenizer.json and tokenizer_config.json (transformers' CLIPTokenizer)."""
    from tokenizers import Regex, normalizers, pre_tokenizers
    from transformers import CLIPTokenizer

    normalise = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    counts: Counter[str] = Counter()
    for text in [*_captions(captions, seed), *[EXTRA_WORDS] * 50]:
        counts.update(word for word, _ in split.pre_tokenize_str(normalise.normalize_str(text)))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learn_merges(counts, limit=1200 - 2 * len(alphabet))
    # CLIP's own order: bytes, bytes that end a word, merges, then the two marks. END must have the highest id:
    # open_clip finds the end of a text by argmax.
    tokens = [*alphabet, *(f"{byte}</w>" for byte in alphabet), *("".join(pair) for pair in merges), START, END]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
        "do_lower_case": True,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)


def learn_merges(counts: Mapping[str, int], limit: int) -> list[tuple[str, str]]:
    """Byte-pair merges of words, most frequent pair first; equal counts go by the pair's own order.

    The tokenizers package breaks such ties by the order of a hash map, which differs from run to run.
    """
    words = {word: [*word[:-1], f"{word[-1]}</w>"] for word in counts}
    merges: list[tuple[str, str]] = []
    while len(merges) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, symbols in words.items():
            words[word] = _merged(symbols, best)
    return merges


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def _captions(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [caption(sample_scene(rng), rng) for _ in range(count)]
