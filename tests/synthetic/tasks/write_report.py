import json
from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out


def write_report(
    pictures: Annotated[Path, Dep()],
    page: Annotated[Path, Out("report.html")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """The page and the numbers."""
    found = sorted(pictures.iterdir())
    page.write_text("<html>" + "".join(path.read_text() for path in found) + "</html>\n")
    metrics.write_text(json.dumps({"pictures": len(found)}) + "\n")
