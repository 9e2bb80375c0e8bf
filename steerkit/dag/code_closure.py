"""Which source files of the project a stage's result depends on: the static import closure of its module.

Modules are mapped to files by name, never imported. Imports under ``if TYPE_CHECKING`` do not run and do not count.
Dynamic imports count if their argument is a literal string.
"""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

PACKAGES = ("tasks", "steerkit")
# The wiring and the engine decide when a stage runs, not what it computes.
NOT_CODE = ("tasks.pipelines", "tasks.__main__", "steerkit.dag", "steerkit.cli")

# What one look at the files found: of each module the names that it imports, and its file if that holds code.
Known = dict[str, tuple[tuple[str, ...], str | None]]


def code_closure(module: str, root: Path, known: Known | None = None) -> list[str]:
    """Files, relative to ``root`` and sorted, that importing ``module`` can run inside the project's packages.

    ``known`` is filled and read: whoever asks for many modules at once gives the same one, and each file is looked at
    once.
    """
    known = {} if known is None else known
    found: set[str] = set()
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in seen or not _counts(name):
            continue
        seen.add(name)
        # Importing a.b.c runs a/__init__.py and a/b/__init__.py first.
        parent = name.rpartition(".")[0]
        if parent:
            pending.append(parent)
        if name not in known:
            known[name] = _look(name, root)
        imports, file = known[name]
        pending.extend(imports)
        if file is not None:
            found.add(file)
    return sorted(found)


def digest_of_files(paths: list[str], root: Path) -> str:
    """sha256 over names and contents of source files, in hexadecimal."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path}\0{hashlib.sha256((root / path).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _counts(module: str) -> bool:
    if module.partition(".")[0] not in PACKAGES:
        return False
    return not any(module == name or module.startswith(f"{name}.") for name in NOT_CODE)


def _look(module: str, root: Path) -> tuple[tuple[str, ...], str | None]:
    file = _module_file(module, root)
    if file is None:
        return (), None
    moved = file.stat()
    imports, has_code = _scan(file, module, moved.st_mtime_ns, moved.st_size)
    return imports, file.relative_to(root).as_posix() if has_code else None


def _module_file(module: str, root: Path) -> Path | None:
    place = root.joinpath(*module.split("."))
    package = place / "__init__.py"
    if package.is_file():
        return package
    file = place.with_suffix(".py")
    return file if file.is_file() else None


@lru_cache(maxsize=4096)
def _scan(file: Path, module: str, _mtime: int, _size: int) -> tuple[tuple[str, ...], bool]:
    """Names that the file imports (some may be attributes, not modules), and whether it holds more than a docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    collector = _Imports(package)
    collector.visit(tree)
    docstring_only = all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)
    return tuple(collector.names), not docstring_only


class _Imports(ast.NodeVisitor):
    def __init__(self, package: str) -> None:
        self.package = package
        self.names: list[str] = []

    def visit_Import(self, node: ast.Import) -> None:
        self.names += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self.package.split(".")
            kept = parts[: len(parts) - node.level + 1]
            base = ".".join([*kept, base] if base else kept)
        self.names.append(base)
        self.names += [f"{base}.{alias.name}" for alias in node.names if alias.name != "*"]

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
        for child in node.orelse if name == "TYPE_CHECKING" else [*node.body, *node.orelse]:
            self.visit(child)
        if name != "TYPE_CHECKING":
            self.visit(test)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                self.names.append(first.value)
        self.generic_visit(node)
