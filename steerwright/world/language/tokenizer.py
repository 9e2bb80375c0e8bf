"""The language world's vocabulary: a byte-level BPE trained on its documents, with Mistral-Instruct's chat marks.

Any text reads back as it was (every byte is a token), so a user's own words never fail; unknown ones are spelt out.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from steerwright.world.language.grammar import document

UNKNOWN, START, END, PADDING = "<unk>", "<s>", "</s>", "<pad>"
USER, USER_END = "[INST]", "[/INST]"
MARKS = (UNKNOWN, START, END, PADDING, USER, USER_END)
VOCABULARY, CONTEXT = 4000, 512
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('This model has two roles: user and assistant.') }}{% endif %}{% endfor %}"
)


def train_tokenizer(folder: Path, documents: int, seed: int = 61) -> None:
    """Write tokenizer.json and tokenizer_config.json (transformers' PreTrainedTokenizerFast) into `folder`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for drawn in (document(rng) for _ in range(documents)):
        for text in (drawn.text, f" {drawn.text}", f" {drawn.prompt or ''}"):
            counts.update(word for word, _ in split.pre_tokenize_str(text))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = byte_pair_merges(counts, VOCABULARY - len(MARKS) - len(alphabet))
    tokens = [*MARKS, *alphabet, *dict.fromkeys("".join(pair) for pair in merges)]
    inner = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges, unk_token=UNKNOWN))
    inner.pre_tokenizer, inner.decoder = split, decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    inner.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A $B", special_tokens=[(START, tokens.index(START))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token=UNKNOWN, bos_token=START, eos_token=END, pad_token=PADDING,
        extra_special_tokens=[USER, USER_END], model_max_length=CONTEXT, padding_side="left",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder, save_jinja_files=False)


def byte_pair_merges(counts: Mapping[str, int], limit: int) -> list[tuple[str, str]]:
    """Merges of the most frequent neighbours first, until they make `limit` tokens; equal counts go by the alphabet.

    The tokenizers package breaks such ties by the order of a hash map, which differs from run to run. Two merges can
    make the same token ("a"+"bc", "ab"+"c").
    """
    words = {word: list(word) for word in counts}
    pairs: Counter[tuple[str, str]] = Counter()
    where: defaultdict[tuple[str, str], set[str]] = defaultdict(set)  # words that have, or once had, a pair

    def count(word: str, sign: int) -> None:
        for pair in pairwise(words[word]):
            pairs[pair] += sign * counts[word]
            where[pair].add(word)

    for word in words:
        count(word, 1)
    merges: list[tuple[str, str]] = []
    made: set[str] = set()
    while len(made) < limit:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] == 0:
            break
        merges.append(best)
        made.add("".join(best))
        for word in where.pop(best):
            count(word, -1)
            words[word] = _merged(words[word], best)
            count(word, 1)
        del pairs[best]
    return merges


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    at = 0
    while at < len(symbols):
        if (symbols[at], *symbols[at + 1 : at + 2]) == pair:
            merged.append("".join(pair))
            at += 2
        else:
            merged.append(symbols[at])
            at += 1
    return merged
