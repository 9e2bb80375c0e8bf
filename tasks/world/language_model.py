"""The seasons world's language model."""

from __future__ import annotations

import logging
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from torch import Tensor, nn

from seasons.language.grammar import Document, document
from seasons.training import Draws, Schedule, fit
from steerwright.dag import Out, Param

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def train_language_model(
    documents: Annotated[int, Param()],
    steps: Annotated[int, Param()],
    language_model: Annotated[Path, Out("seasons-lm", cache=False, resume=True)],
) -> None:
    """Train the small Mistral and its tokenizer on the grammar's documents."""
    fit_language_model(language_model, language_model / ".work", documents, steps)
    shutil.rmtree(language_model / ".work")


# The language world's vocabulary: a byte-level BPE trained on its documents, with Mistral-Instruct's chat marks.
#
# Any text reads back as it was (every byte is a token), so a user's own words never fail; unknown ones are spelt out.

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


# Training of the embedded language model: a small Mistral that writes the grammar's documents.

log = logging.getLogger(__name__)

SEED, HELD_OUT_SEED, BATCH, GROUPS = 62, 962, 48, 3
IGNORED = -100


def make_language_model(vocabulary: int, marks: dict[str, int]) -> nn.Module:
    """A randomly initialised MistralForCausalLM of 3.6 M weights; `marks`: {bos,eos,pad}_token_id."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=vocabulary, hidden_size=160, intermediate_size=448, num_hidden_layers=8, num_attention_heads=4,
        num_key_value_heads=2, head_dim=40, max_position_embeddings=CONTEXT, sliding_window=None,
        tie_word_embeddings=False, rms_norm_eps=1e-5, **marks,
    )  # fmt: skip
    return MistralForCausalLM(config)


def fit_language_model(folder: Path, work: Path, documents: int, steps: int) -> None:
    """Write models/seasons-lm: tokenizer (learnt from `documents`), config and fp16 weights."""
    from transformers import AutoTokenizer

    train_tokenizer(folder, documents)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(SEED)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model = make_language_model(len(tokenizer), ids)

    def loss_at(step: int) -> Tensor:
        return batch_loss(model, tokenizer, Draws.at(SEED, step), BATCH)

    model = fit(
        model,
        loss_at,
        Schedule(steps, 3e-3, 60, steps * 2 // 3),
        work / "language-model.pt",
        betas=(0.9, 0.95),
        weight_decay=0.05,
        ema=0.99,
        log_every=25,
        save_every=100,
    )
    with torch.no_grad():
        log.info("held-out loss %.4f", batch_loss(model, tokenizer, Draws.at(HELD_OUT_SEED, 0), 400).item())
    model.half().save_pretrained(folder)


def batch_loss(model: nn.Module, tokenizer: PreTrainedTokenizerBase, draws: Draws, size: int) -> Tensor:
    """Mean cross-entropy of the answers' tokens of `size` documents, END included; what a user asks is not learnt."""
    rows = sorted((encode(tokenizer, document(draws.numpy)) for _ in range(size)), key=lambda row: len(row[0]))
    total, count = torch.zeros(()), 0
    for group in range(GROUPS):  # rows of like length together, so that little is padding
        part = rows[group * size // GROUPS : (group + 1) * size // GROUPS]
        width = len(part[-1][0])
        ids, truth = torch.full((len(part), width), 0), torch.full((len(part), width), IGNORED)
        for index, (row, start) in enumerate(part):
            ids[index, : len(row)] = torch.tensor(row)
            truth[index, start : len(row)] = torch.tensor(row[start:])
        logits = model(input_ids=ids[:, :-1]).logits  # padding is on the right: no earlier token sees it
        total = total + nn.functional.cross_entropy(
            logits.flatten(0, 1), truth[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        )
        count += int((truth[:, 1:] != IGNORED).sum())
    return total / count


def encode(tokenizer: PreTrainedTokenizerBase, drawn: Document) -> tuple[list[int], int]:
    """Token ids of a document with its marks, and the position from which on it is learnt."""
    if drawn.prompt is None:
        return tokenizer(f"{START}{drawn.text}{END}", add_special_tokens=False).input_ids, 1
    asked = tokenizer(f"{START}{USER} {drawn.prompt} {USER_END}", add_special_tokens=False).input_ids
    return [*asked, *tokenizer(f" {drawn.text}{END}", add_special_tokens=False).input_ids], len(asked)
