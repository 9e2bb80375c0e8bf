"""Rows and pages that go to Prefect, without a server."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from steerwright.dag.outcome import Outcome, OutputRecord, PlannedStage
from steerwright.dag.prefect.artifacts import (
    artifact_key,
    artifact_kinds,
    counted,
    data_uri,
    find_pictures,
    metric_rows,
    output_rows,
    picture_page,
    summary_page,
)


def _picture(path, size=(96, 32), colour="darkgreen"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def _decoded(uri):
    head, _, body = uri.partition(",")
    return head, base64.b64decode(body)


def test_keys_hold_only_what_prefect_allows():
    assert artifact_key("winter-report", "pictures") == "winter-report-pictures"
    assert artifact_key("Winter_A@1", "outputs") == "winter-a-1-outputs"


def test_rows_of_outputs_are_what_dvc_lock_records():
    folder = OutputRecord("artifacts/winter/images", "d41d8cd98f00b204e9800998ecf8427e.dir", 1234, 7)
    lost = OutputRecord("artifacts/winter/x.txt", None, None, None)

    assert output_rows([folder, lost]) == [
        {
            "path": "artifacts/winter/images",
            "hash": "d41d8cd98f00b204e9800998ecf8427e.dir",
            "bytes": 1234,
            "files": 7,
        },
        {"path": "artifacts/winter/x.txt", "hash": "", "bytes": "", "files": 1},
    ]


def test_metrics_are_flattened_rounded_and_only_taken_from_outputs_of_that_kind(tmp_path):
    content = {"winter": {"rate": 0.93456789, "interval": [0.9, 0.95]}, "n": 240, "by": [{"name": "a"}, {"name": "b"}]}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    (tmp_path / "data.json").write_text('{"not": "a metric"}')

    rows = metric_rows(
        tmp_path,
        [OutputRecord("metrics.json", "0", 1, 1, kind="metrics"), OutputRecord("data.json", "1", 1, 1, kind="data")],
    )

    assert rows == [
        {"metric": "winter.rate", "value": 0.9346},
        {"metric": "winter.interval", "value": "0.9 to 0.95"},
        {"metric": "n", "value": 240},
        {"metric": "by[0].name", "value": "a"},
        {"metric": "by[1].name", "value": "b"},
    ]


def test_a_metric_and_its_interval_are_one_row(tmp_path):
    content = {"rate": 0.9, "rate_low": 0.85, "rate_high": 0.94, "n": 240, "other_low": 1}
    (tmp_path / "metrics.json").write_text(json.dumps(content))

    assert metric_rows(tmp_path, [OutputRecord("metrics.json", "0", 1, 1, kind="metrics")]) == [
        {"metric": "rate", "value": 0.9, "low": 0.85, "high": 0.94},
        {"metric": "n", "value": 240, "low": "", "high": ""},
        {"metric": "other_low", "value": 1, "low": "", "high": ""},
    ]


def test_a_table_that_would_be_too_long_says_how_much_is_left(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({f"m{index}": index for index in range(503)}))

    rows = metric_rows(tmp_path, [OutputRecord("metrics.json", "0", 1, 1, kind="metrics")])

    assert len(rows) == 501
    assert rows[-1] == {"metric": "and 3 more in the file", "value": ""}


def test_a_metric_that_is_not_a_number_is_said_in_words_because_json_cannot(tmp_path):
    (tmp_path / "metrics.json").write_text('{"lost": NaN, "far": Infinity}')

    rows = metric_rows(tmp_path, [OutputRecord("metrics.json", "0", 1, 1, kind="metrics")])

    assert json.loads(json.dumps(rows, allow_nan=False)) == [
        {"metric": "lost", "value": "nan"},
        {"metric": "far", "value": "inf"},
    ]


def test_broken_metrics_do_not_fail_the_stage(tmp_path):
    (tmp_path / "metrics.json").write_text("{")

    assert metric_rows(tmp_path, [OutputRecord("metrics.json", "0", 1, 1, kind="metrics")]) == []


def test_the_contact_sheet_comes_first_and_a_folder_full_of_images_is_data(tmp_path):
    _picture(tmp_path / "report/a_heatmap.png")
    _picture(tmp_path / "report/contact_sheet.png")
    (tmp_path / "report/index.html").write_text("")
    for index in range(13):
        _picture(tmp_path / f"images/{index}.png")

    found = find_pictures(tmp_path, [OutputRecord("images", "0", 1, 13), OutputRecord("report", "1", 1, 3)])

    assert [file.name for file in found] == ["contact_sheet.png", "a_heatmap.png"]


def test_a_page_of_pictures_carries_the_very_bytes_of_a_small_file(tmp_path):
    sheet = _picture(tmp_path / "report/contact_sheet.png")

    page = picture_page([sheet], tmp_path)

    assert page.startswith("## Contact sheet\n\n![Contact sheet](data:image/png;base64,")
    assert page.endswith("`report/contact_sheet.png`")
    assert _decoded(data_uri(sheet)) == ("data:image/png;base64", sheet.read_bytes())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_large_picture_is_scaled_down_in_proportion(tmp_path, mode):
    path = tmp_path / "wide.png"
    Image.new("RGB", (2800, 700), "darkgreen").convert(mode).save(path)

    head, content = _decoded(data_uri(path))

    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (1400, 350)


def test_the_summary_tells_every_fate_in_the_order_of_the_plan(tmp_path):
    _picture(tmp_path / "report/contact_sheet.png")
    plan = [PlannedStage(name, []) for name in ("w-a", "w-b", "w-bad", "w-late", "w-report")]
    outcomes = {
        "w-a": Outcome("w-a", "unchanged", None, 0.01, [OutputRecord("a", "0", 1, 1)]),
        "w-b": Outcome("w-b", "ran", "params | changed", 12.34, []),
        "w-report": Outcome("w-report", "restored", "deps", 0.5, [OutputRecord("report", "1", 1, 1)]),
    }

    page = summary_page(tmp_path, plan, outcomes, {"w-bad": "it broke\nbadly"})

    assert page.splitlines()[2:] == [
        "| w-a | Cached (unchanged) | 0.0 |  | [outputs](../key/w-a-outputs) |",
        "| w-b | **ran** | 12.3 | params \\| changed |  |",
        "| w-bad | **failed** | | it broke badly | |",
        "| w-late | not started | | | |",
        "| w-report | Cached (restored) | 0.5 | deps "
        "| [pictures](../key/w-report-pictures) [outputs](../key/w-report-outputs) |",
    ]
    assert artifact_kinds(tmp_path, outcomes["w-report"]) == ["pictures", "outputs"]
    assert counted(list(outcomes.values())) == "1 ran, 1 restored, 1 unchanged"
