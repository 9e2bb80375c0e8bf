"""What the gallery of features adds to the style of the page of latents."""

from pathlib import Path

from steerwright.report.html.style import CARD_STYLE

# Labels are told apart by colour and by name. Three are colours of the theme; two more are needed. The first of each
# pair is drawn in figures and swapped for the variable within the page, as `figures.to_svg` does with the theme's.
LABEL_COLOURS = {
    "season": "adaptive", "object": "fixed", "colour": "prompt", "place": "place", "time": "time",
}  # fmt: skip
MORE = {"place": ("#3d7d4a", "#84c491"), "time": ("#ab4160", "#ec93ac")}


def label_variable(label: str | None) -> str:
    """The style sheet's variable of a label's colour."""
    return LABEL_COLOURS.get(label or "", "unsteered")


def _more(theme: int) -> str:
    return "".join(f"--{name}:{colours[theme]};" for name, colours in MORE.items())


FLUX_STYLE = (
    CARD_STYLE
    + f":root{{{_more(0)}}}@media screen and (prefers-color-scheme:dark){{:root{{{_more(1)}}}}}"
    + Path(__file__).with_name("gallery.css").read_text(encoding="utf-8")
)


# What the pages do when scripts run: tables that sort, and the gallery's controls. Without scripts all is readable.
#
# It is text in a module, not a file beside it, so that a changed script is changed code of the stage. It asks for
# nothing outside the page; the state of the controls is kept in the address, after `#?`, so that a view can be passed
# on.

SCRIPT = Path(__file__).with_name("gallery.js").read_text(encoding="utf-8")
