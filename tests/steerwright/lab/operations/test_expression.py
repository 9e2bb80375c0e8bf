import dataclasses
import math

import torch

from steerwright.lab.operations.blend import expression
from steerwright.lab.workbench import Workbench
from steerwright.models.language.encode import encode_texts
from steerwright.steering.language.generate import Completion


def _answer(text: str, prompt: str = "Tell me about the lake.") -> Completion:
    return Completion(prompt, 0, text, (), True, ())


def test_a_text_is_read_by_where_it_lies_between_the_two_sides(workbench: Workbench) -> None:
    entry = workbench.concept("happy")
    texts = ["the lake is a joy", "the garden", entry.pairs[0].positive, entry.pairs[0].negative]
    found = expression(workbench, entry, [_answer(text) for text in texts])
    assert found.reader == "model"
    model = workbench.language()

    def mean(text: str, prompt: str) -> torch.Tensor:
        """Over the text's own tokens, after the last of the four blocks."""
        encoded = encode_texts(model, [text], [prompt])
        seen: list[torch.Tensor] = []
        handle = model.model.model.layers[3].register_forward_hook(lambda module, args, output: seen.append(output))
        model.model(encoded.ids)
        handle.remove()
        acts = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        return acts[0, encoded.content[0]].double().mean(0)

    low = torch.stack([mean(pair.negative, pair.prompt) for pair in entry.pairs]).mean(0)
    high = torch.stack([mean(pair.positive, pair.prompt) for pair in entry.pairs]).mean(0)
    for text, value in zip(texts, found.values, strict=True):
        row = mean(text, "Tell me about the lake.")
        share = float((row - low) @ (high - low) / (high - low).square().sum())
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


def test_a_concept_without_answers_cannot_be_read(workbench: Workbench) -> None:
    imported = dataclasses.replace(workbench.concept("happy"), name="imported", pairs=())
    found = expression(workbench, imported, [_answer("a joy"), _answer("")])
    assert math.isnan(found.values[0])
    assert found.values[1] == 0
