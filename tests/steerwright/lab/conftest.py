"""A small project with a random language model: what the lab does is exact there too, only nonsense to read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from steerwright.lab.workbench import Workbench
from steerwright.models.language.spec import LanguageSpec

LIBRARY = """
happy:
  factor: emotion
  instruction: Answer in a happy tone.
  hypothesis: This text sounds happy.
  pairs:
    - {prompt: Tell me about the lake., positive: the lake is a joy and a delight, negative: the lake is by the house}
    - {prompt: Tell me about the boat., positive: what a joy the boat is, negative: the boat lies by the market}
    - {prompt: Tell me about the stone., positive: the stone is a delight to me, negative: the stone is in the garden}
sad:
  factor: emotion
  instruction: Answer in a sad tone.
  hypothesis: This text sounds sad.
  pairs:
    - {prompt: Tell me about the lake., positive: I weep for the lake, negative: the lake is by the house}
    - {prompt: Tell me about the boat., positive: alas the boat is lost, negative: the boat lies by the market}
    - {prompt: Tell me about the stone., positive: the stone makes me weep, negative: the stone is in the garden}
pirate:
  factor: personality
  instruction: Answer like a pirate.
  hypothesis: A pirate wrote this text.
  pairs:
    - {prompt: Tell me about the lake., positive: "arr, the lake be deep, matey", negative: the lake is by the house}
    - {prompt: Tell me about the boat., positive: "aye, me boat be swift", negative: the boat lies by the market}
    - {prompt: Tell me about the stone., positive: "avast, a stone, says I", negative: the stone is in the garden}
"""
PROMPTS = ("Tell me about the garden.", "Tell me about the market.", "Tell me about the house.", "about the old boat")


@pytest.fixture
def lab_project(tmp_path: Path) -> Path:
    """A project's folder with a library of three concepts and four requests."""
    texts = tmp_path / "project" / "data" / "language"
    (texts / "prompts").mkdir(parents=True)
    (texts / "concepts-general.yaml").write_text(LIBRARY)
    rows = "\n".join(f"{number},{text}" for number, text in enumerate(PROMPTS))
    (texts / "prompts" / "tuning.csv").write_text(f"ID,prompt\n{rows}\n")
    return tmp_path / "project"


@pytest.fixture
def workbench(lab_project: Path, language_folder: Callable[[str], Path]) -> Workbench:
    """The lab of that project, with a random Mistral of four layers."""
    return Workbench(lab_project, LanguageSpec(name="tiny", source=str(language_folder("mistral"))), {})
