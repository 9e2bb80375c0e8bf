"""The figures of latents: rates of methods, several targets erased together, and which concepts a latent answers to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from steerwright.report.html.figures import Draw
from steerwright.report.html.theme import DASH, FROST, LIGHT, MINUS, THIN
from steerwright.report.latents.content import MARKS, LatentsContent, colour, concept_name, mean_name, method_name
from steerwright.scoring.erasure_samples import ErasureTarget
from steerwright.scoring.unlearning import QUESTIONS, STEERED

RATES = {"ua": "UA: erased", "ira_relative": "IRA: axis kept", "cra_relative": "CRA: rest kept"}
SCALE = ("#e9eef1", *FROST[1:])
SHARES = (0.1, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of marks: what stands left of it, its rates by metric, and how they are drawn."""

    name: str
    rates: Mapping[str, Mapping[str, Any]]
    shade: str
    mark: str


def method_rates(content: LatentsContent) -> tuple[Draw, float]:
    """UA, and IRA and CRA as shares of the unsteered ones, of every method; a block for each mean over targets."""
    return _marks({
        mean_name(target): [
            Curve(method_name(method), _of(content.rates(target), method), colour(method), MARKS.get(method, "o"))
            for method in content.methods
        ]
        for target in _axis_means(content)
    })  # fmt: skip


def method_rates_table(content: LatentsContent) -> pl.DataFrame:
    """The numbers of `method_rates`."""
    return _shown(content).filter(pl.col("target").is_in(_axis_means(content)))


def target_rates(content: LatentsContent) -> tuple[Draw, float]:
    """The same of every single target, by our method; a block for each axis."""
    axes = list(dict.fromkeys(ErasureTarget.parse(target).axes[0] for target in content.targets))
    return _marks({
        f"{axis}s".capitalize(): [
            Curve(concept_name(target), _of(content.rates(target), STEERED), colour(STEERED), MARKS[STEERED])
            for target in content.targets if ErasureTarget.parse(target).axes[0] == axis
        ]
        for axis in axes
    })  # fmt: skip


def target_rates_table(content: LatentsContent) -> pl.DataFrame:
    """The numbers of `target_rates`."""
    return _shown(content).filter(pl.col("target").is_in(content.targets), pl.col("method") == STEERED)


def _axis_means(content: LatentsContent) -> list[str]:
    return [name for name in content.means if name != "mean"] or content.targets[:1]


def _of(rates: Mapping[tuple[str, str], Mapping[str, Any]], method: str) -> dict[str, Mapping[str, Any]]:
    return {metric: row for (by, metric), row in rates.items() if by == method}


def _shown(content: LatentsContent) -> pl.DataFrame:
    return content.unlearning.filter(pl.col("metric").is_in(list(RATES)), pl.col("operating"))


def _marks(blocks: Mapping[str, Sequence[Curve]]) -> tuple[Draw, float]:
    """A panel for each of `RATES` with a line of marks under each other, block by block; dotted: what was hoped for."""
    bars = {question.metric: question.limit for question in QUESTIONS}
    count = sum(map(len, blocks.values()))

    def draw(figure: Figure) -> None:
        plots = figure.subplots(1, len(RATES), sharey=True, squeeze=False)[0]
        placed: list[tuple[float, Curve]] = []
        heads: list[tuple[float, str]] = []
        y = 0.0
        for name, lines in blocks.items():
            heads.append((y - 0.8, name))
            placed += [(y + place, line) for place, line in enumerate(lines)]
            y += len(lines) + 1.15
        for axes, (metric, title) in zip(plots, RATES.items(), strict=True):
            for place, line in placed:
                if (row := line.rates.get(metric)) is None:
                    continue
                if row["low"] is not None:
                    axes.plot([row["low"], row["high"]], [place, place], color=LIGHT[line.shade], linewidth=2)
                axes.plot(row["estimate"], place, marker=line.mark, color=LIGHT[line.shade], markersize=5.5)
            axes.axvline(bars[metric], color=LIGHT["muted"], linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
            axes.set_title(title, fontsize=8.5, loc="left", color=LIGHT["ink"])
            axes.set_xlim(left=-0.04, right=max(1.06, axes.get_xlim()[1]))
            axes.set_ylim(y - 1.5, -1.25)
            axes.set_xticks([0, 0.5, 1], ["0", "50", f"100{THIN}%"], fontsize=8)
            axes.grid(axis="x", color=LIGHT["rule"], linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        plots[0].set_yticks([place for place, _ in placed], [line.name for _, line in placed])
        for place, name in heads:
            plots[0].text(-0.04, place, name, fontsize=8.5, fontweight="bold", va="center", ha="left")

    return draw, 0.8 + 0.22 * count + 0.27 * len(blocks)


def sequential_rates(content: LatentsContent) -> tuple[Draw, float]:
    """The three rates over how many concepts are erased together, of our method."""
    rows = sequential_table(content)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        shades = {"ua": ("adaptive", "D", "-"), "ira_relative": ("fixed", "s", "-."), 
                  "cra_relative": ("prompt", "^", "--"), "artifact_rate": ("random", "X", ":")}  # fmt: skip
        for metric, title in (RATES | {"artifact_rate": "artifacts"}).items():
            part = rows.filter(metric=metric).sort("concepts")
            if part.height == 0:
                continue
            name, marker, line = shades[metric]
            counts = part["concepts"].to_list()
            axes.plot(counts, part["estimate"].to_list(), color=LIGHT[name], marker=marker, markersize=4.5,
                      linestyle=line, linewidth=1.4, label=title)  # fmt: skip
            if part["low"].null_count() == 0:
                axes.fill_between(counts, part["low"].to_list(), part["high"].to_list(), color=LIGHT[name], alpha=0.14,
                                  linewidth=0)  # fmt: skip
        counts = sorted(rows["concepts"].unique().to_list())
        axes.set(ylim=(-0.03, 1.06), xlabel="concepts erased together")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"100{THIN}%"])
        axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False, fontsize=8,
                      handletextpad=0.5, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip

    return draw, 3.2


def sequential_table(content: LatentsContent) -> pl.DataFrame:
    """The numbers of `sequential_rates`: `concepts` says how many are erased together."""
    wanted = [*RATES, "artifact_rate"]
    table = content.sequential.filter(
        pl.col("metric").is_in(wanted), pl.col("operating"), pl.col("method") == "steered",
        pl.col("target").str.contains(":"),
    )  # fmt: skip
    counts = [len(ErasureTarget.parse(target)) for target in table["target"].to_list()]
    return table.with_columns(pl.Series("concepts", counts, dtype=pl.Int64))


def concept_heatmap(table: pl.DataFrame) -> tuple[Draw, float]:
    """Latents of one autoencoder down, concepts across: means as shares of each latent's largest, and what chose it.

    `table`: concept, latent, mean, selected.
    """
    concepts = table["concept"].unique(maintain_order=True).to_list()
    latents = table["latent"].unique(maintain_order=True).to_list()
    largest = dict(table.group_by("latent").agg(pl.col("mean").max()).iter_rows())
    rows = table.to_dicts()
    each = 0.155

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        shades = [SCALE[round(level * (len(SCALE) - 1) / len(SHARES))] for level in range(len(SHARES) + 1)]
        paths: dict[int, list[Path]] = {}
        for row in rows:
            x, y = concepts.index(row["concept"]), latents.index(row["latent"])
            share = max(row["mean"], 0.0) / largest[row["latent"]] if largest[row["latent"]] > 0 else 0.0
            paths.setdefault(sum(share >= bound for bound in SHARES), []).append(_square(x, y))
        for level, some in sorted(paths.items()):
            axes.add_patch(PathPatch(Path.make_compound_path(*some), facecolor=shades[level], edgecolor=LIGHT["paper"],
                                     linewidth=0.6))  # fmt: skip
        for row in rows:
            if row["selected"]:
                corner = concepts.index(row["concept"]) - 0.5, latents.index(row["latent"]) - 0.5
                axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=LIGHT["fixed"], linewidth=1.5))
        axes.set(xlim=(-0.5, len(concepts) - 0.5), ylim=(len(latents) - 0.5, -0.5))
        axes.set_xticks(range(len(concepts)), [concept_name(name) for name in concepts], rotation=55, ha="left",
                        rotation_mode="anchor", fontsize=8)  # fmt: skip
        axes.xaxis.tick_top()
        stride = -(-len(latents) // 60)
        axes.set_yticks(range(0, len(latents), stride), [str(one) for one in latents[::stride]], fontsize=7)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.tick_params(length=0)
        handles = [Rectangle((0, 0), 1, 1, facecolor=shade, linewidth=0) for shade in shades]
        names = _levels()
        handles.append(Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=LIGHT["fixed"], linewidth=1.5))
        names.append("chosen for it")
        figure.legend(_by_rows(handles, 4), _by_rows(names, 4), loc="outside lower left", ncols=4, frameon=False,
                      fontsize=8, handlelength=1, handleheight=0.9, handletextpad=0.4, columnspacing=1.1,
                      borderaxespad=0.1)  # fmt: skip

    return draw, 1.45 + each * len(latents)


def _levels() -> list[str]:
    ends = [round(100 * share) for share in SHARES]
    middle = [f"{low}{DASH}{high}{THIN}%" for low, high in pairwise(ends)]
    return [f"< {ends[0]}{THIN}%", *middle, f"≥ {ends[-1]}{THIN}%"]


def _by_rows(items: Sequence[Any], columns: int) -> list[Any]:
    """Legends fill columns; so ordered, they read along rows."""
    return [items[place] for column in range(columns) for place in range(column, len(items), columns)]


def _square(x: int, y: int) -> Path:
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) + np.array([x, y]) - 0.5
    return Path(corners, closed=True)


Drawings = Mapping[str, tuple[tuple[Draw, float], pl.DataFrame]]


# How good autoencoders are: training curves, loss over denoising steps, and how often latents are active.

SHADES = (("adaptive", "-"), ("fixed", "--"), ("prompt", "-."), ("unsteered", ":"), ("random", (0, (3, 1, 1, 1))))
CURVES = {"fvu": "FVU", "l0": "L0", "dead_share": "dead"}


def training_curves(curves: pl.DataFrame) -> tuple[Draw, float]:
    """FVU, active latents a row, and dead share against rows trained on; those of the three that there are."""
    shown = [name for name in CURVES if name in curves.columns and curves[name].is_not_null().any()]
    saes = curves["sae"].unique(maintain_order=True).to_list()

    def draw(figure: Figure) -> None:
        plots = figure.subplots(len(shown), 1, sharex=True, squeeze=False,
                                height_ratios=[2 if name == "fvu" else 1 for name in shown])[:, 0]  # fmt: skip
        for axes, name in zip(plots, shown, strict=True):
            for place, sae in enumerate(saes):
                part = curves.filter(sae=sae).drop_nulls(name).sort("rows")
                shade, line = SHADES[place % len(SHADES)]
                axes.plot(part["rows"].to_list(), part[name].to_list(), color=LIGHT[shade], linestyle=line,
                          linewidth=1.3, label=sae, marker="." if part.height == 1 else None)  # fmt: skip
            axes.set_ylabel(CURVES[name])
            _grid(axes)
            if name == "fvu":
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if _two(value) else ""))
                axes.tick_params(axis="y", which="minor", labelsize=7.5)
            else:
                axes.set_ylim(bottom=0)
            if name == "dead_share":
                axes.yaxis.set_major_formatter(FuncFormatter(_share))
        plots[-1].set_xlabel("rows trained on")
        plots[-1].xaxis.set_major_locator(MaxNLocator(nbins=5))
        plots[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
        _legend(figure, plots[0], saes)

    return draw, 1.1 + sum(1.5 if name == "fvu" else 0.85 for name in shown)


def loss_by_step(quality: pl.DataFrame) -> tuple[Draw, float]:
    """FVU on held-out prompts at each denoising step."""
    rows = quality.filter(pl.col("step").is_not_null(), measure="fvu").sort("step")
    saes = rows["sae"].unique(maintain_order=True).to_list()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, sae in enumerate(saes):
            part = rows.filter(sae=sae)
            shade, line = SHADES[place % len(SHADES)]
            axes.plot(part["step"].to_list(), part["value"].to_list(), color=LIGHT[shade], linestyle=line,
                      linewidth=1.4, marker="o", markersize=3, label=sae)  # fmt: skip
        axes.set(xlabel="denoising step (0 begins with noise)", ylabel="FVU, held out", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        _grid(axes)
        _legend(figure, axes, saes)

    return draw, 2.7


def density_histogram(quality: pl.DataFrame) -> tuple[Draw, float]:
    """How many latents are active on which share of tokens: outlines, an autoencoder each."""
    rows = quality.filter(measure="density").sort("low")
    filled = rows.filter(pl.col("value") > 0)
    rows = rows.filter(pl.col("low") >= filled["low"].min(), pl.col("high") <= filled["high"].max())
    saes = rows["sae"].unique(maintain_order=True).to_list()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, sae in enumerate(saes):
            part = rows.filter(sae=sae)
            total = part["value"].sum() or 1
            edges = [*part["low"].to_list(), part["high"].to_list()[-1]]
            shade, line = SHADES[place % len(SHADES)]
            axes.stairs([value / total for value in part["value"].to_list()], edges, color=LIGHT[shade],
                        linestyle=line, linewidth=1.4, label=sae)  # fmt: skip
        axes.set(xlabel="share of tokens on which a latent is active", ylabel="share of latents", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(_power))
        axes.yaxis.set_major_formatter(FuncFormatter(_share))
        _grid(axes)
        _legend(figure, axes, saes)

    return draw, 2.7


def _grid(axes: Axes) -> None:
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.set_axisbelow(True)


def _legend(figure: Figure, axes: Axes, saes: list[str]) -> None:
    if len(saes) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=8,
                      handletextpad=0.5, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip


def _two(value: float) -> bool:
    return f"{value:.6e}"[0] in "25"


def _share(value: float, _: object = None) -> str:
    return f"{100 * value:.3g}{THIN}%"


def _count(value: float) -> str:
    """1500000 as `1.5 M`."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{THIN}{name}"
    return f"{value:g}"


def _power(value: float, _: object = None) -> str:
    """-2 as `1 %`: the tick of a power of ten."""
    if value > -3:
        return f"{100 * 10**value:g}{THIN}%"
    return f"10$^{{{f'{value:g}'.replace('-', MINUS)}}}$"
