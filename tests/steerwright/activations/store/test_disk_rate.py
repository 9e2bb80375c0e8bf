"""The disk's own rate, on files that are there."""

from pathlib import Path

from steerwright.activations.store.row_ranges import sequential_rate


def test_a_rate_is_measured_up_to_a_limit(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(bytes(1 << 20))
    assert sequential_rate(paths) > 0
    assert sequential_rate([*paths, tmp_path / "never reached"], 3 << 20, cached=True) > 0
    assert paths[0].read_bytes() == bytes(1 << 20)


def test_nothing_has_no_rate() -> None:
    assert sequential_rate([]) == 0.0
