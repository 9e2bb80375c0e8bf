"""What `dvc plots` draws of a stage's tables: one line for each thing that there is, named."""

from pathlib import Path
from typing import Any

import pytest
from dvc_render.vega import VegaRenderer

from steerwright.dag import registry

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / ".dvc" / "plots"
PLOTS = {
    out.path: out.marker for stage in registry.all_stages(ROOT).values() for out in stage.outs.values()
    if out.marker.kind == "plots"
}  # fmt: skip


def filled(rows: list[dict[str, Any]], **asked: str) -> Any:
    """The specification that DVC makes of rows, as its HTML page and its --json hold it."""
    return VegaRenderer(rows, "a.csv", template_dir=str(TEMPLATES), **asked).get_filled_template()


@pytest.mark.parametrize("path", PLOTS)
def test_every_table_is_drawn_by_a_template_of_the_project(path: str) -> None:
    marker = PLOTS[path]
    if not Path(path).suffix:
        # A folder of files, each with the points of one curve, which DVC's own template draws.
        assert marker.template is None and Path(path).name == "curves"
        return
    rows = [{marker.x: 1, marker.y: 2, "panel": "p", "series": "s", "low": 1, "high": 3, "rev": "workspace"}]
    spec = filled(rows, template=str(marker.template), x=str(marker.x), y=str(marker.y), title=str(marker.title))
    assert spec["title"]["text"] == marker.title and spec["data"]["values"] == rows
    assert "<DVC_METRIC" not in str(spec)


@pytest.mark.parametrize("template", ["lines", "points", "intervals", "heatmap"])
def test_panels_series_and_revisions_are_told_apart(template: str) -> None:
    rows = [
        {"panel": panel, "series": series, "rev": rev, "x": x, "y": x}
        for panel in "ab" for series in "cd" for rev in ("HEAD", "workspace") for x in range(3)
    ]  # fmt: skip
    spec = filled(rows, template=template, x="x", y="y")
    facet = spec["facet"]["field"]
    encoding = dict(spec["spec"]["encoding"])
    for layer in spec["spec"].get("layer", []):
        encoding |= layer.get("encoding", {})
    used = {channel["field"] for channel in encoding.values()} | {facet}
    if facet != "panel":
        (made,) = spec["transform"]
        assert facet == made["as"]
        used |= {name for name in ("panel", "rev") if f"datum.{name}" in made["calculate"]}
    # Intervals have what they compare along y, one row each.
    assert used >= ({"panel", "rev", "y"} if template == "intervals" else {"panel", "series", "rev", "x", "y"})
    assert template != "lines" or (encoding["color"]["field"], encoding["strokeDash"]["field"]) == ("series", "rev")
