"""What all commands share: an option that takes one value may be written once."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from steerwright.errors import UserError


class OnceEach(TyperCommand):
    """A command that refuses an option of one value that is written twice: the first would be dropped in silence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen: set[str] = set()
        for written in order:
            # An argument is written once as it is, and a switch written twice drops nothing.
            if not isinstance(written, TyperOption) or written.multiple or written.is_flag:
                continue
            if written.name in seen:
                raise UserError(f"{max(written.opts, key=len)} is given twice; give it once.")
            seen.add(str(written.name))
        return super().parse_args(ctx, args)


class CommandLine(typer.Typer):
    """A Typer whose commands are `OnceEach`, unless they say what else they are."""

    def command(self, name: str | None = None, *, cls: Any = OnceEach, **rest: Any) -> Any:
        return super().command(name, cls=cls, **rest)
