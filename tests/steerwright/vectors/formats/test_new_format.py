"""A new format of vectors files is one class: the command line writes and reads it, and nothing else knows of it."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from steerwright.cli.app import app
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import normalised
from steerwright.vectors.formats import registry
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="m", source="folder", revision=None, digest="0" * 64, libraries={})


class Json(registry.VectorFormat):
    name = "json"
    reads = "our vectors as JSON"
    writes = "hookpoint to numbers"

    def recognises(self, file: Path, model: str | None) -> bool:
        return file.read_bytes()[:1] == b"{"

    def read(self, file: Path, asked: registry.Asked) -> registry.Imported:
        rows = json.loads(file.read_text())
        found = {VectorKey(Hookpoint.parse(at)): normalised(torch.tensor(row)) for at, row in rows.items()}
        return registry.Imported(SteeringVectors(asked.concept or "none", MODEL, "json", "all", found), "hookpoints")

    def write(self, vectors: SteeringVectors, source: Path, output: Path, model: str | None) -> str:
        rows = {str(key.hookpoint): (d.unit * d.norm).tolist() for key, d in vectors.directions.items()}
        output.write_text(json.dumps(rows))
        return f"{len(rows)} as JSON"


def test_a_new_format_is_written_and_read_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FORMATS, "json", Json())
    raw = torch.tensor([3.0, 4.0])
    ours, theirs, back = (tmp_path / name for name in ("ours.safetensors", "theirs.json", "back.safetensors"))
    save_vectors(SteeringVectors("joy", MODEL, "", "all", {VectorKey(Hookpoint("a.b")): normalised(raw)}), ours)
    there, here = ("export", ours, "--format", "json", "-o", theirs), ("import", theirs, "--concept", "joy", "-o", back)
    for words in (there, here):
        result = CliRunner().invoke(app, ["vectors", *map(str, words)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert json.loads(theirs.read_text()) == {"a.b:out": pytest.approx([3.0, 4.0])}
    (direction,) = load_vectors(back).directions.values()
    assert torch.allclose(direction.unit * direction.norm, raw) and load_vectors(back).concept == "joy"
