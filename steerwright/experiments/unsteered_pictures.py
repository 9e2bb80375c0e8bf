"""Unsteered pictures on disk, and in which of them the gates of each edit open: an edit leaves all others as they are.

Up to the first step at which its gate opens an edit changes nothing, so the picture in which none ever opens is the
unsteered picture to the bit, and need not be made again.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

from steerwright.images import PictureFolder
from steerwright.models.generate import generate_batches
from steerwright.models.load import LoadedModel
from steerwright.steering.algebra import Edit
from steerwright.steering.gate_survey import is_gated_by_image, survey

NOTE = "gates.json"
Key = tuple[int, int]
"""A prompt's id and a seed."""


class Wanted(Protocol):
    """A picture to make."""

    @property
    def prompt_id(self) -> int: ...
    @property
    def prompt(self) -> str: ...
    @property
    def seed(self) -> int: ...


def draw_unsteered(
    model: LoadedModel,
    folder: PictureFolder,
    condition: str,
    wanted: Sequence[Wanted],
    watched: Mapping[str, Sequence[Edit]],
    batch_size: int,
    progress: Callable[[int], None],
) -> dict[str, set[Key]]:
    """Draw the `wanted` pictures as `condition` of `folder`; by name of the `watched` edits those in which they act.

    What was found is in `gates.json` of the folder, which comes last and whole: without it, or where it does not know
    of an edit, all are drawn. Edits without a gate by image act in all. `progress(pictures done)`.
    """
    keys = [(one.prompt_id, one.seed) for one in wanted]
    note = folder.folder / NOTE
    found = json.loads(note.read_text()) if note.is_file() else {}
    drawn = all(folder.has(*key, condition) for key in keys)
    if not drawn or set(found) != set(watched):
        gated = {name: edits for name, edits in watched.items() if is_gated_by_image(edits)}
        done = 0
        with survey(model, gated) if gated else nullcontext() as seen:
            prompts, seeds = [one.prompt for one in wanted], [one.seed for one in wanted]
            for batch, images in generate_batches(model, prompts, seeds, batch_size=batch_size):
                for key, image in zip(keys[batch.start : batch.stop], images, strict=True):
                    folder.save(*key, condition, image)
                done += len(images)
                progress(done)
        found = {}
        for name in watched:
            acts = seen.acts(name).tolist() if seen and name in gated else [True] * len(keys)
            found[name] = [f"{id_}-{seed}" for (id_, seed), holds in zip(keys, acts, strict=True) if holds]
        note.parent.mkdir(parents=True, exist_ok=True)
        partial = note.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=1) + "\n")
        os.replace(partial, note)
    return {name: {key for key in keys if f"{key[0]}-{key[1]}" in set(found[name])} for name in watched}
