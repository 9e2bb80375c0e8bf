"""Configs that say nothing of the machine they were written on."""

import json
from pathlib import Path

ORIGIN = "_name_or_path"


def forget_origin(folder: Path) -> None:
    """Drop from every config.json below `folder` the path that diffusers notes of where a model was loaded."""
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text())
        if config.pop(ORIGIN, None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n")
