"""Small panels in one pair of axes: many pairs would say the same with ten times the work of laying them out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from steerwright.report.html.figures import WIDTH

COLUMNS = 3
# Inches of a panel's name above it, and between two panels; and what a panel is wide, roughly.
HEAD, GAP, ACROSS = 0.26, 0.1, (WIDTH - 0.7) / COLUMNS


@dataclass(frozen=True, slots=True)
class Panels:
    """`count` panels of `width` x `height` in units of the data, each `inches` high; y runs downwards."""

    count: int
    width: float
    height: float
    inches: float

    @property
    def lines(self) -> int:
        """How many there are below each other."""
        return max(-(-self.count // COLUMNS), 1)

    @property
    def total(self) -> float:
        """Their height together in inches, names included."""
        return self.lines * (self.inches + HEAD)

    def origin(self, place: int) -> tuple[float, float]:
        """The upper left corner of a panel."""
        across = self.width * (1 + GAP / ACROSS)
        return (place % COLUMNS) * across, (place // COLUMNS) * self.height * (1 + HEAD / self.inches)

    def corners(self) -> Iterator[tuple[float, float]]:
        """The upper left corner of every panel."""
        return (self.origin(place) for place in range(self.count))

    def frame(
        self, axes: Axes, names: Sequence[str], x: Sequence[tuple[float, str]], y: Sequence[tuple[float, str]]
    ) -> None:  # fmt: skip
        """Write the names above the panels, `x` (place within a panel, words) under the last line, `y` at the left."""
        for name, (left, top) in zip(names, self.corners(), strict=True):
            axes.annotate(name, (left, top), (0, 3), textcoords="offset points", fontsize=8, va="bottom", ha="left")
        last = [self.origin(place) for place in range((self.lines - 1) * COLUMNS, self.count)]
        first = [self.origin(place) for place in range(0, self.count, COLUMNS)]
        axes.set_xticks(
            [left + at for left, _ in last for at, _ in x], [word for _ in last for _, word in x], fontsize=7
        )
        axes.set_yticks(
            [top + at for _, top in first for at, _ in y], [word for _ in first for _, word in y], fontsize=7
        )
        head = self.height * HEAD / self.inches
        axes.set_xlim(0, self.width * (COLUMNS + (COLUMNS - 1) * GAP / ACROSS))
        axes.set_ylim(self.origin(self.count - 1)[1] + self.height, -head)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.tick_params(length=0)
