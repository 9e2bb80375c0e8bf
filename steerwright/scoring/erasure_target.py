"""What is erased: one concept of an axis, such as `season:winter`, or several together."""

from dataclasses import dataclass

from steerwright.errors import UserError

TOGETHER = " + "


@dataclass(frozen=True, slots=True)
class ErasureTarget:
    """Concepts (axis, value) that one edit erases together, in order; nearly always one."""

    concepts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "ErasureTarget":
        """From `season:winter`, or `season:winter + object:car`. UserError for anything else."""
        found: list[tuple[str, str]] = []
        for part in text.split(TOGETHER):
            axis, colon, value = part.strip().partition(":")
            if not (axis and colon and value) or (axis, value) in found:
                raise UserError(
                    f"{text!r} names no target of erasing; write axis:value, such as season:winter, "
                    f"several different ones with {TOGETHER.strip()!r} between them."
                )
            found.append((axis, value))
        return cls(tuple(found))

    def __str__(self) -> str:
        return TOGETHER.join(f"{axis}:{value}" for axis, value in self.concepts)

    def __len__(self) -> int:
        return len(self.concepts)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that the concepts belong to, each once."""
        return tuple(dict.fromkeys(axis for axis, _ in self.concepts))

    def values(self, axis: str) -> tuple[str, ...]:
        """The values of `axis` that are erased."""
        return tuple(value for named, value in self.concepts if named == axis)
