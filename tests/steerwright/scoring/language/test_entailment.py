"""The zero-shot scorer against transformers' own pipeline, on a small random classifier that is saved and loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.errors import UserError
from steerwright.scoring.language.judges import Entailment

TEXTS = ["arr the ship be gold", "the lake is deep", ""]
HYPOTHESES = {"pirate": "this text is of a pirate", "calm": "this text is calm"}


def saved(folder: Path, labels: list[str]) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = sorted({word for text in [*TEXTS, *HYPOTHESES.values()] for word in text.split()})
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=16,
    ).save_pretrained(folder)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=32, max_position_embeddings=16, initializer_range=0.6,
                id2label=dict(enumerate(labels)), label2id={name: place for place, name in enumerate(labels)},
            )
        )  # fmt: skip
    model.save_pretrained(folder)
    return str(folder)


def asked(folder: str, **options: Any) -> torch.Tensor:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    rows = []
    for text in TEXTS:
        rows.append([])
        for hypothesis in HYPOTHESES.values():
            with torch.no_grad():
                rows[-1].append(model(**tokenizer(text, hypothesis, return_tensors="pt")).logits[0])
    return torch.stack([torch.stack(row) for row in rows])


def test_each_concept_is_entailment_against_contradiction_and_neutral_is_left_out(tmp_path: Path) -> None:
    folder = saved(tmp_path, ["contradiction", "neutral", "ENTAILMENT"])
    scorer = Entailment.load(folder, HYPOTHESES)
    found = scorer.probabilities(TEXTS)
    logits = asked(folder)
    expected = 1 / (1 + (logits[..., 0] - logits[..., 2]).exp())
    assert scorer.concepts == ("pirate", "calm") and found.shape == (3, 2) and found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.std() > 0.01


def test_batches_and_padding_change_nothing(tmp_path: Path) -> None:
    folder = saved(tmp_path, ["entailment", "not_entailment"])
    whole = Entailment.load(folder, HYPOTHESES)
    alone = Entailment(whole._model, whole._tokenizer, HYPOTHESES, batch_size=1)
    assert torch.allclose(whole.probabilities(TEXTS), alone.probabilities(TEXTS), atol=1e-6)
    assert whole.probabilities([]).shape == (0, 2)


def test_it_agrees_with_the_pipeline_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from transformers import pipeline

    folder = saved(tmp_path, ["contradiction", "neutral", "entailment"])
    try:
        peer = pipeline("zero-shot-classification", model=folder, device="cpu")
    except KeyError:
        pytest.skip("this release of transformers has no zero-shot pipeline")
    found = Entailment.load(folder, HYPOTHESES).probabilities(TEXTS[:2])
    for row, text in enumerate(TEXTS[:2]):
        answer = peer(text, list(HYPOTHESES.values()), hypothesis_template="{}", multi_label=True)
        scores = dict(zip(answer["labels"], answer["scores"], strict=True))
        for place, hypothesis in enumerate(HYPOTHESES.values()):
            assert float(found[row, place]) == pytest.approx(scores[hypothesis], abs=1e-5)


def test_a_classifier_of_something_else_or_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labels entailment and contradiction; this one has negative, positive"):
        Entailment.load(saved(tmp_path, ["negative", "positive"]), HYPOTHESES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no usable folder"):
        Entailment.load(str(tmp_path / "empty"), HYPOTHESES)
