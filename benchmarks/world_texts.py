"""How well the embedded language model and the text classifier know their world, on texts they were not trained on.

    python -m benchmarks.world_texts [--requests 60] [--examples]

Of each value: how often the classifier finds it in the grammar's own texts that have it and takes texts without it for
it (a template of each kept out of its training among them); how often the model's answers show it when a request names
it (bar: 0.95, greedy and sampled) and when it does not. Below: both of two values named at once, the share of words
that the world has, and how much texts vary.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from seasons.language.grammar import random_topic, request, two_values
from seasons.language.labelled_texts import labelled_text
from seasons.language.topic import VALUES
from steerwright.models.language.load import LanguageModel, load_language_model
from steerwright.models.language.spec import LanguageSpec
from steerwright.scoring.language.fluency import distinct
from steerwright.scoring.language.judges import PRESENT, TextLabels
from steerwright.scoring.language.text_classifier import words_of
from steerwright.steering.language.generate import Completion, Sampling, complete
from tasks.world.text_labels import recalls

REQUESTS_SEED, TEXTS_SEED = 981, 982
BAR = 0.95
SAMPLED, GREEDY = Sampling(max_new_tokens=48), Sampling(max_new_tokens=48, temperature=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60, help="requests for each value")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the embedded models")
    parser.add_argument("--examples", action="store_true", help="print an answer for each value too")
    arguments = parser.parse_args()

    model = load_language_model(LanguageSpec(name="seasons-lm", source=str(arguments.models / "seasons-lm")))
    labels = TextLabels.load(arguments.models / "seasons-text-labels")
    rng = np.random.default_rng(TEXTS_SEED)
    known = recalls(labels.network, [labelled_text(rng, kind) for kind in ("whole", "cut") for _ in range(2000)])
    kept_out = recalls(labels.network, [labelled_text(rng, "whole", only_kept=True) for _ in range(1000)])

    rng = np.random.default_rng(REQUESTS_SEED)
    plain = [request(random_topic(rng), (), rng) for _ in range(arguments.requests)]
    unasked = answers(model, plain, SAMPLED)
    found = shown(labels, unasked)
    table = Table(title="Values of the language world (rates; bar of the last two columns: 0.95)")
    for column in ("", "recall", "false positives", "recall, new templates", "unsteered", "asked", "asked, greedy"):
        table.add_column(column, justify="left" if not column else "right")
    least, examples, said = 1.0, [], list(unasked)
    for index, value in enumerate(VALUES):
        asked = [request(random_topic(rng), (value,), rng) for _ in range(arguments.requests)]
        sampled, greedy = answers(model, asked, SAMPLED), answers(model, asked, GREEDY)
        rates = [float(shown(labels, written)[:, index].mean()) for written in (sampled, greedy)]
        least, said = min(least, *rates), [*said, *sampled]
        examples.append((value, asked[0], sampled[0].text.strip()))
        cells = (*known[value], kept_out[value][0], float(found[:, index].mean()), *rates)
        table.add_row(value, *("" if np.isnan(cell) else f"{cell:.3f}" for cell in cells))
    Console(width=120).print(table)
    print(f"least: {least:.3f} (bar {BAR})")

    pairs = [two_values(rng) for _ in range(arguments.requests * 4)]
    both = shown(labels, answers(model, [request(random_topic(rng), pair, rng) for pair in pairs], SAMPLED))
    joint = np.mean([all(row[VALUES.index(value)] for value in pair) for row, pair in zip(both, pairs, strict=True)])
    vocabulary = {word.lower() for _ in range(8000) for word in words_of(labelled_text(rng, "whole", ()).text)}
    words = [word.lower() for one in said for word in words_of(one.text)]
    print(f"two values named: both shown in {joint:.3f}")
    print(f"words of the world: {np.mean([word in vocabulary for word in words]):.4f} of {len(words)}")
    print(f"distinct-2 of unsteered answers: {distinct([one.text for one in unasked], 2):.3f}")
    if arguments.examples:
        for value, asked_for, text in examples:
            print(f"{value}: {asked_for}\n    {text}")


def answers(model: LanguageModel, requests: Sequence[str], sampling: Sampling) -> list[Completion]:
    """One answer to each request, from its place as seed."""
    return complete(model, requests, list(range(len(requests))), sampling)


def shown(labels: TextLabels, written: Sequence[Completion]) -> np.ndarray:
    """Which values each text shows, bool [n, values]."""
    return labels.probabilities([one.text for one in written], [one.ended for one in written]) >= PRESENT


if __name__ == "__main__":
    main()
