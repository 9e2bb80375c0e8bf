"""How good autoencoders are: training curves, loss over denoising steps, and how often latents are active."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from steerkit.report.figures import Draw
from steerkit.report.theme import LIGHT, MINUS, THIN

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
