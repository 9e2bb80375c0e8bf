"""Which pictures an edit is judged on: every strength, and the controls, beside the unsteered picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steerkit.prompts.concept import Concept
from steerkit.steering.edit_spec import EditSpec

Steering = Literal["none", "edit", "random"]
CONTROLS = ("random", "prompt", "negative")


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to make.

    `condition` names it on disk (steered_0 is the first strength); `folder` is the edit's name, or the suite's for
    unsteered pictures, which its edits share. `asked` is the text that is drawn, `prompt` the original.
    """

    folder: str
    condition: str
    prompt_id: int
    prompt: str
    seed: int
    asked: str
    negative: str = ""
    steering: Steering = "none"
    strength: float = 0.0
    operating: bool = True

    @property
    def shown_as(self) -> str:
        """The condition without the number of its strength."""
        return self.condition.partition("_")[0]


def shots(
    name: str,
    edit: EditSpec,
    concepts: Mapping[str, Concept],
    prompts: Sequence[Mapping[str, Any]],
    *,
    strength: float,
    seeds: Sequence[int],
    sweep_seeds: Sequence[int],
    control_seeds: Sequence[int],
) -> list[Shot]:
    """The pictures of the edit `name` on `prompts` (id and prompt), operating at `strength`.

    The unsteered pictures and those at the operating strength are on all `seeds`, the other strengths on
    `sweep_seeds`, the controls on `control_seeds`. Controls: `random`, random directions of equal norm at the same
    places and strength; `prompt`, the concept added to the prompt, taken out of it, or swapped in it; `negative`, the
    concept as negative prompt; for adding, what it is contrasted with.
    """
    found: list[Shot] = []
    concept = concepts[edit.concept]
    for row in prompts:
        text = str(row["prompt"])
        reworded = _reworded(edit, concept, concepts, text)
        negative = ", ".join(concept.against) if edit.action == "add" else concept.text
        for seed in dict.fromkeys([*seeds, *sweep_seeds, *control_seeds]):
            common: dict[str, Any] = {"prompt_id": int(row["id"]), "prompt": text, "seed": seed}
            found.append(Shot(edit.suite, "unsteered", asked=text, **common))
            for number, one in enumerate(edit.strengths):
                operating = one == strength
                if seed in (seeds if operating else sweep_seeds):
                    found.append(
                        Shot(name, f"steered_{number}", asked=text, steering="edit", strength=one,
                             operating=operating, **common)
                    )  # fmt: skip
            if seed in control_seeds:
                found.append(Shot(name, "random", asked=text, steering="random", strength=strength, **common))
                found.append(Shot(name, "prompt", asked=reworded, **common))
                if negative:
                    found.append(Shot(name, "negative", asked=text, negative=negative, **common))
    order = {condition: place for place, condition in enumerate(dict.fromkeys(shot.condition for shot in found))}
    return sorted(found, key=lambda shot: order[shot.condition])


def _reworded(edit: EditSpec, concept: Concept, concepts: Mapping[str, Concept], text: str) -> str:
    if edit.action == "add":
        return text if concept.kind(text) == "contains" else f"{text} {concept.text}"
    return concept.reworded(text, concepts[edit.target].text if edit.target else concept.without)
