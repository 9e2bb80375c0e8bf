"""The look of the lab's drawings: the page's own colours, which follow it between light and dark."""

import math
from dataclasses import dataclass

from steerwright.report.html.theme import DARK, LIGHT

# From numbers to places in a drawing: round ticks, a linear scale, and how numbers are written.

SERIES = ("first", "second", "third", "fourth", "fifth")
MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class ChartScale:
    """Maps `low`..`high` linearly to the pixels `start`..`end` (which may run backwards)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` round numbers from at or below `low` to at or above `high`, 1, 2 or 5 times a power of ten apart.

    Raises ValueError unless both are finite and low <= high.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"No ticks lie between {low} and {high}.")
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-290):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 3 - math.floor(math.log10(step))
    return [round(place * step, digits) for place in range(first, last + 1)]


def number(value: float) -> str:
    """Up to three significant digits, with a true minus; a dash for what is not defined."""
    if not math.isfinite(value):
        return "\u2013"
    return f"{value:.3g}".replace("-", MINUS)


# The first is what is looked at; "plain" is what it is compared with.
_LIGHT = {
    "plain": LIGHT["unsteered"], "first": LIGHT["adaptive"], "second": LIGHT["fixed"], "third": LIGHT["prompt"],
    "fourth": "#2f7d5b", "fifth": "#b04a5f",
}  # fmt: skip
_DARK = {
    "plain": DARK["unsteered"], "first": DARK["adaptive"], "second": DARK["fixed"], "third": DARK["prompt"],
    "fourth": "#7cc8a4", "fifth": "#ec94a4",
}  # fmt: skip


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--chart-{name}:{value};" for name, value in colours.items())


CHART_STYLE = (
    f":root{{{_variables(_LIGHT)}}}.dark{{{_variables(_DARK)}}}"
    + "".join(f".lab-chart .{name}{{--colour:var(--chart-{name})}}" for name in ("plain", *SERIES))
    + """
.lab-chart{color:var(--ink);margin:0 0 1rem;font-variant-numeric:tabular-nums}
.lab-chart figcaption,.lab-chart caption{color:var(--muted);font-size:.8125rem;line-height:1.45;text-align:left;
max-width:44rem;margin-top:.4rem}
.lab-chart h4{font-size:.9375rem;font-weight:600;margin:0 0 .35rem;color:var(--ink)}
.lab-chart svg{display:block;width:100%;max-width:28rem;height:auto;overflow:visible}
.lab-chart svg text{fill:var(--muted);font-size:12.5px;font-family:inherit}
.lab-chart svg text.name{fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.lab-chart svg .grid{stroke:var(--rule);stroke-width:1}
.lab-chart svg .line{stroke:var(--colour);fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
.lab-chart svg .line.faint{stroke-width:1.2;opacity:.35}
.lab-chart svg .dashed{stroke-dasharray:5 4}
.lab-chart svg .dot{fill:var(--colour)}
.lab-chart svg .dot.faint{opacity:.3}
.lab-chart svg .ring{fill:var(--paper);stroke:var(--colour);stroke-width:2.2}
.lab-chart svg .band{fill:var(--colour);opacity:.14;stroke:none}
.lab-chart svg .limit{stroke:var(--muted);stroke-width:1.2;stroke-dasharray:2 4}
.lab-chart svg.map{max-width:38rem}
.lab-chart .key{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.8125rem;color:var(--muted);margin:.1rem 0 .3rem}
.lab-chart .key span::before{content:"";display:inline-block;width:.95rem;height:.2rem;border-radius:.1rem;
background:var(--colour);margin-right:.4rem;vertical-align:middle}
.lab-chart .scroll{overflow-x:auto;-webkit-overflow-scrolling:touch;padding-bottom:.3rem}
.lab-chart table.heat{border-collapse:separate;border-spacing:2px;font-size:.78rem;line-height:1.2;width:auto;
margin:0;border:0}
.lab-chart table.heat th,.lab-chart table.heat td{border:0;padding:0}
.lab-chart table.heat tbody th{font-weight:400;color:var(--muted);text-align:right;padding-right:.45rem;
white-space:nowrap;position:sticky;left:0;background:var(--paper);z-index:1}
.lab-chart table.heat thead th{font-weight:400;color:var(--ink);vertical-align:bottom;text-align:center}
.lab-chart table.heat thead th.up span{writing-mode:vertical-rl;transform:rotate(180deg);white-space:pre;
padding:.15rem 0;max-height:8rem;overflow:hidden}
.lab-chart table.heat td{--far:calc(var(--share)*100%);min-width:1.15rem;height:1.3rem;border-radius:3px;
text-align:center;
background:color-mix(in oklab,var(--chart-first) var(--far),color-mix(in oklab,var(--muted) 9%,var(--paper)))}
.lab-chart table.heat td.cold{
background:color-mix(in oklab,var(--chart-second) var(--far),color-mix(in oklab,var(--muted) 9%,var(--paper)))}
.lab-chart table.heat td.word{padding:.15rem .35rem;min-width:2.6rem;max-width:6.5rem;overflow:hidden;
text-overflow:ellipsis;white-space:pre;color:var(--ink)}
.lab-chart table.heat td.deep{color:var(--paper)}
.lab-chart table.heat td.sure{outline:2px solid var(--chart-second);outline-offset:-2px}
.lab-chart table.heat td.none{background:none}
.lab-chart table.heat tr.here th{color:var(--ink);font-weight:600}
.lab-chart .ramp{display:flex;align-items:center;gap:.5rem;font-size:.8125rem;color:var(--muted);margin:.1rem 0 .4rem}
.lab-chart .ramp i{display:inline-block;width:7rem;height:.6rem;border-radius:.3rem;
background:linear-gradient(90deg,color-mix(in oklab,var(--muted) 9%,var(--paper)),var(--chart-first))}
.lab-chart .ramp.signed i{background:linear-gradient(90deg,var(--chart-second),
color-mix(in oklab,var(--muted) 9%,var(--paper)),var(--chart-first))}
.charts-row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:.6rem 2rem}
.charts-row+.lab-chart{margin-top:1.4rem}
.charts .said{margin:.2rem 0 1rem;color:var(--muted);max-width:46rem}
.charts .said q{color:var(--ink)}
.depth-strip{display:flex;gap:.5rem;margin:.2rem 0 .8rem}
.depth-strip .stage{flex:1 1 0;min-width:0;color:var(--muted);font-size:.8125rem;line-height:1.35}
.depth-strip .stage b{display:block;font-weight:600;margin-top:.35rem}
.depth-strip .stage span{display:block}
.depth-strip .stage.here b{color:var(--adaptive)}
.depth-strip .cells{display:flex;gap:2px}
.depth-strip .cells i{flex:1;height:.85rem;background:var(--rule);border-radius:2px}
.depth-strip .stage.here .cells i{background:color-mix(in oklab,var(--adaptive) 35%,var(--paper))}
.depth-strip .cells i.here,.depth-strip .stage.here .cells i.here{background:var(--adaptive)}
.depth-card{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:.5rem 2.5rem;background:var(--panel);
border-radius:6px;padding:1rem 1.2rem;color:var(--ink)}
.depth-card h3{margin:0 0 .3rem;font-size:1.05rem;font-weight:600}
.depth-card p{margin:.3rem 0;line-height:1.5}
.depth-card .numbers{display:grid;gap:.45rem;align-content:start}
.depth-card .numbers b{display:inline-block;min-width:4.2rem;font-weight:600;margin-right:.6rem}
.depth-card .numbers div{display:flex;font-size:.9rem;color:var(--muted);align-items:baseline}
.depth-card .numbers div b{color:var(--ink)}
.two-answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:.4rem 2rem;
margin:.2rem 0 .8rem}
.two-answers h4,.path-texts h4{font-size:.9375rem;font-weight:600;margin:0 0 .2rem;color:var(--ink)}
.two-answers h4 .muted{font-weight:400}
.two-answers p{margin:0;line-height:1.5;color:var(--ink)}
.map-and-texts{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:1rem 2.5rem}
.path-texts ol{list-style:none;margin:0;padding:0}
.path-texts li{display:flex;gap:.8rem;padding:.4rem 0;border-bottom:1px solid var(--rule);font-size:.9rem;
line-height:1.45;color:var(--ink)}
.path-texts li b{font-weight:400;color:var(--muted);min-width:2.4rem}
.invitation{margin:.6rem 0 1.2rem}
@media (max-width:52rem){.map-and-texts{grid-template-columns:1fr}}
@media (max-width:40rem){.depth-card{grid-template-columns:1fr}.depth-strip .stage span{display:none}}
"""
)
