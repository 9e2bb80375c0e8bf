import torch

from steerkit.lab.operations.expression import expression
from steerkit.lab.workbench import Workbench
from steerkit.models.language.encode import encode_texts
from steerkit.models.language.generate import Completion


def _answer(text: str, prompt: str = "Tell me about the lake.") -> Completion:
    return Completion(prompt, 0, text, (), True, ())


def test_a_text_is_read_by_where_it_lies_between_the_two_sides(workbench: Workbench) -> None:
    entry = workbench.concept("happy")
    texts = ["the lake is a joy", "the garden", entry.pairs[0].positive, entry.pairs[0].negative]
    found = expression(workbench, entry, [_answer(text) for text in texts])
    assert found.reader == "model"
    model = workbench.language()
    unit = entry.vectors.at_layers([entry.layer]).directions.popitem()[1].unit.double()

    def along(text: str, prompt: str) -> float:
        encoded = encode_texts(model, [text], [prompt])
        states = model.model(encoded.ids, output_hidden_states=True).hidden_states[entry.layer + 1]
        return float(states[0, encoded.content[0]].double().mean(0) @ unit)

    low = sum(along(pair.negative, pair.prompt) for pair in entry.pairs) / len(entry.pairs)
    high = sum(along(pair.positive, pair.prompt) for pair in entry.pairs) / len(entry.pairs)
    for text, value in zip(texts, found.values, strict=True):
        share = (along(text, "Tell me about the lake.") - low) / (high - low)
        assert abs(value - min(max(share, 0), 1)) < 1e-3


def test_an_answer_that_says_nothing_shows_nothing(workbench: Workbench) -> None:
    assert expression(workbench, workbench.concept("sad"), [_answer(""), _answer("  ")]).values == (0.0, 0.0)


def test_the_classifier_is_asked_where_it_knows_the_concept(workbench: Workbench, monkeypatch) -> None:
    class Labels:
        values = ("sad", "happy")

        def probabilities(self, texts, ended):
            assert ended == [True] * len(texts)
            return torch.tensor([[0.25, 0.5 if "joy" in text else 0.0] for text in texts])

    monkeypatch.setattr(workbench, "labels", lambda: Labels())
    found = expression(workbench, workbench.concept("happy"), [_answer("a joy"), _answer(""), _answer("a stone")])
    assert (found.reader, found.values) == ("classifier", (0.5, 0.0, 0.0))
    assert expression(workbench, workbench.concept("pirate"), [_answer("arr")]).reader == "model"
