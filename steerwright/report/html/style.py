"""The page's style sheet: quiet, readable on a phone, light and dark, and on paper."""

from pathlib import Path

from steerwright.report.html.theme import DARK, LIGHT


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


STYLE_SHEET = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    + Path(__file__).with_name("page.css").read_text(encoding="utf-8")
)

GRID_STYLE = Path(__file__).with_name("grids.css").read_text(encoding="utf-8")
"""What pages with grids of pictures add."""

CARD_STYLE = GRID_STYLE + Path(__file__).with_name("cards.css").read_text(encoding="utf-8")
"""What pages with cards of latents add."""
