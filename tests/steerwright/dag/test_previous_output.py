"""Adding to a stage's input computes only what is new, also where DVC has removed the old output."""

from pathlib import Path

import pytest

from tests.synthetic_project import Checkout


def makers(checkout: Checkout) -> list[str]:
    """Which run made each shard, from what the shards themselves say."""
    folder = checkout.root / "artifacts/demo/shards/shards"
    return sorted("new" if '"new"' in path.read_text() else "old" for path in folder.iterdir())


@pytest.mark.parametrize("door", ["run", "repro"])
def test_one_more_number_makes_one_more_shard(done: Checkout, door: str) -> None:
    done.edit("params.yaml", "count: 6", "count: 7")
    getattr(done, door)(RUN_LABEL="new")
    assert makers(done) == ["new"] + ["old"] * 6


def test_a_fresh_clone_after_pull_makes_only_the_new_shard(done: Checkout, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    done.call(["dvc", "remote", "add", "-d", "store", remote])
    done.call(["dvc", "push", "-q"])
    done.git("commit", "-q", "-am", "remote")
    done.call(["git", "clone", "-q", ".", str(tmp_path / "clone")])
    clone = Checkout(tmp_path / "clone")
    clone.call(["dvc", "pull", "-q"])
    clone.edit("params.yaml", "count: 6", "count: 7")
    clone.run(RUN_LABEL="new")
    assert makers(clone) == ["new"] + ["old"] * 6
