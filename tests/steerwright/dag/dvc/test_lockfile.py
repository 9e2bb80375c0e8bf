"""dvc.lock as text: one entry replaced, whole entries told from torn ones."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from steerwright.dag.dvc import lockfile, repair
from steerwright.dag.dvc import lockfile as dvc_lock

LOCK = """\
schema: '2.0'
stages:
  demo-a:
    cmd: python -m tasks demo-a
    deps:
    - path: tasks/a.py
      hash: md5
      md5: aaaabbbbccccddddaaaabbbbccccdddd
      size: 10
    outs:
    - path: artifacts/demo/a/out.json
      hash: md5
      md5: 11112222333344441111222233334444
      size: 5
  demo-b@x:
    cmd: python -m tasks demo-b
    params:
      params.yaml:
        demo.b:
          kind: keywords
          stages:
          - 1
    outs:
    - path: artifacts/demo/b
      hash: md5
      md5: 55556666777788885555666677778888.dir
      size: 50
      nfiles: 2
"""
BLOCK = "  demo-a:\n    cmd: other\n    outs:\n    - path: x\n      md5: 0\n"


def stages(text: str) -> dict:
    return YAML(typ="safe").load(text)["stages"]


def test_entries_read_from_the_text_are_those_that_yaml_reads() -> None:
    read = {name: dvc_lock.parse_entry(block) for name, block in dvc_lock.lock_entries(LOCK).items()}
    assert read == stages(LOCK)


def test_an_entry_is_replaced_and_the_others_keep_their_bytes() -> None:
    changed = lockfile.with_entry(LOCK, "demo-a", BLOCK)
    assert stages(changed)["demo-a"]["cmd"] == "other"
    assert changed.endswith(LOCK[LOCK.index("  demo-b@x") :])
    assert lockfile.with_entry(changed, "demo-a", LOCK[LOCK.index("  demo-a") : LOCK.index("  demo-b")]) == LOCK


@pytest.mark.parametrize("before", ["", "schema: '2.0'\n", "schema: '2.0'\nstages: {}\n", lockfile.EMPTY])
def test_an_entry_is_added_to_a_file_without_any(before: str) -> None:
    text = lockfile.with_entry(before, "demo-a", BLOCK)
    assert YAML(typ="safe").load(text) == {"schema": "2.0", "stages": stages("stages:\n" + BLOCK)}


def test_an_entry_is_added_before_another_key_of_the_file() -> None:
    text = lockfile.with_entry(LOCK + "datasets:\n- name: d\n", "demo-c", BLOCK.replace("demo-a", "demo-c"))
    assert list(stages(text)) == ["demo-a", "demo-b@x", "demo-c"]
    assert text.endswith("datasets:\n- name: d\n")


def test_every_way_to_cut_a_lock_is_noticed_or_leaves_whole_entries_only(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    whole = stages(LOCK)
    for length in range(len(LOCK)):
        path.write_text(LOCK[:length])
        if repair.is_torn(path):
            continue
        kept = YAML(typ="safe").load(LOCK[:length]).get("stages") or {}
        for name, entry in kept.items():
            # `size` and `nfiles` come last and are no part of what DVC compares.
            assert [out["md5"] for out in entry["outs"]] == [out["md5"] for out in whole[name]["outs"]], length
    path.write_text(LOCK)
    assert not repair.is_torn(path)


def test_the_cache_is_where_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    assert dvc_lock.cached_file(tmp_path, "abcdef") == tmp_path / ".dvc/cache/files/md5/ab/cdef"
    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n[cache]\n    dir = ../../store\n")
    assert dvc_lock.cache_folder(tmp_path) == tmp_path.parent / "store"
