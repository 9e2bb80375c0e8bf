"""What the lab's lists of concepts begin with where the language pipeline has not run: what it once gave."""

import shutil
from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out


def lab_concepts(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    removals: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    concepts: Annotated[Path, Out("seasons-concepts", cache=False)],
) -> None:
    """Copy the vectors and the choices of the embedded language model's concepts, as artifacts/language has them."""
    for source, name in (
        (model, "model/model.json"),
        (pairs, "prompts/pairs.json"),
        (vectors, "vectors/vectors"),
        (removals, "removals/vectors"),
        (chosen, "choice/chosen.json"),
    ):
        target = concepts / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
