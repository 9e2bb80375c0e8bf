"""What a stage's result depends on by its imports: source files of the project, and libraries.

Modules are mapped to files by name, never imported. Imports under ``if TYPE_CHECKING`` do not run and do not count.
A module that is imported by a name made at run time counts if the name begins with a literal package, which then
counts whole; any other is refused. A package that loads its names lazily (a ``__getattr__`` in its ``__init__.py``)
says in its stub, ``__init__.pyi``, where each name comes from.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from steerwright.errors import UserError

# The wiring and the engine decide when a stage runs, not what it computes.
NOT_CODE = re.compile(
    r"(steerwright\.(dag|cli)|flows|tests|benchmarks|tasks\.__main__|tasks\.\w+\.(\w+_)?pipeline)(\.|$)"
)
# What reads or describes files beside the module: their contents are then part of the code.
_BESIDE = {"__file__", "importlib.resources", "pkgutil.get_data"}
_BY_PATH = {"spec_from_file_location", "run_path", "load_source"}
_BY_NAME = {"import_module", "__import__", "run_module", "find_loader"}


@dataclass(frozen=True)
class Module:
    """What one look at a source file found."""

    imports: tuple[str, ...] = ()
    """Dotted names that it imports or reaches; some are attributes of modules, not modules."""
    whole: tuple[str, ...] = ()
    """Beginnings of names: every module of the project whose name begins so can be imported."""
    defined: frozenset[str] = frozenset()
    lazy: bool = False
    """A package whose names are looked up when they are asked for."""
    file: str | None = None
    """Relative to the root; None if it holds nothing but a docstring, or is no module of the project."""
    reads_beside: bool = False
    """Data files beside it are code too; which there are can change while the module does not."""


@dataclass(frozen=True)
class Closure:
    """Files, relative to the root, and import names of libraries; both sorted."""

    files: list[str]
    libraries: list[str]


Known = dict[str, Module]


def code_closure(module: str, root: Path, known: Known | None = None) -> list[str]:
    """Files, relative to ``root`` and sorted, that importing ``module`` can run, and the data files beside them.

    ``known`` is filled and read: give the same one for many modules, and each file is looked at
    once.

    Raises:
        UserError: an import by a name that only the running program knows.
    """
    return closure(module, root, known).files


def closure(module: str, root: Path, known: Known | None = None) -> Closure:
    """The files of `code_closure`, and the libraries that they import: packages outside the project and Python."""
    known = {} if known is None else known
    found: set[str] = set()
    libraries: set[str] = set()
    ours: dict[str, bool] = {}
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        top = name.partition(".")[0]
        if top not in ours:
            ours[top] = _in_project(top, root)
        if not ours[top]:
            if top and top not in sys.stdlib_module_names and top != "__main__":
                libraries.add(top)
            continue
        if NOT_CODE.match(name):
            continue
        # Importing a.b.c runs a/__init__.py and a/b/__init__.py first.
        parent, _, last = name.rpartition(".")
        if name not in known:
            known[name] = _look(name, root)
        here = known[name]
        pending.extend(here.imports)
        for prefix in here.whole:
            pending.extend(_modules_from(prefix, root))
        if here.file is not None:
            found.add(here.file)
            if here.reads_beside:
                found.update(_data_files((root / here.file).parent, root))
        if parent:
            pending.append(parent)
            if parent not in known:
                known[parent] = _look(parent, root)
            package = known[parent]
            if package.lazy and last not in package.defined and not _is_module(name, root):
                pending.extend(_from_stub(parent, last, root))
    return Closure(sorted(found), sorted(libraries))


def digest_of_files(paths: list[str], root: Path) -> str:
    """sha256 over names and contents of source files, in hexadecimal."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path}\0{hashlib.sha256((root / path).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _in_project(top: str, root: Path) -> bool:
    folder = root / top
    if not top or not folder.is_dir():
        return bool(top) and folder.with_suffix(".py").is_file()
    return (folder / "__init__.py").is_file() or any(folder.glob("*.py")) or any(folder.glob("*/*.py"))


def _look(module: str, root: Path) -> Module:
    file = _module_file(module, root)
    if file is None:
        return Module()
    moved = file.stat()
    return _scan(file, module, root, moved.st_mtime_ns, moved.st_size)


def _data_files(folder: Path, root: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".py", ".pyc", ".pyi") and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix()


def _module_file(module: str, root: Path) -> Path | None:
    place = root.joinpath(*module.split("."))
    package = place / "__init__.py"
    if package.is_file():
        return package
    file = place.with_suffix(".py")
    return file if file.is_file() else None


def _is_module(name: str, root: Path) -> bool:
    place = root.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def _modules_from(prefix: str, root: Path) -> Iterator[str]:
    """Names of all modules of the project that begin with ``prefix``."""
    package = prefix.rpartition(".")[0]
    folder = root.joinpath(*package.split("."))
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name.startswith(prefix):
            yield name


def _from_stub(package: str, name: str, root: Path) -> Iterable[str]:
    """Where a lazy package has a name from: what its stub says, else all that is below the package."""
    stub = root.joinpath(*package.split("."), "__init__.pyi")
    if stub.is_file():
        homes = stub_homes(stub, package, stub.stat().st_mtime_ns)
        if name in homes:
            return [homes[name]]
    return _modules_from(f"{package}.", root)


@lru_cache(maxsize=64)
def stub_homes(stub: Path, package: str, _mtime: int) -> dict[str, str]:
    collector = _Imports(package, package, True)
    collector.visit(ast.parse(stub.read_text(encoding="utf-8"), filename=str(stub)))
    return collector.bound


@lru_cache(maxsize=4096)
def _scan(file: Path, module: str, root: Path, _mtime: int, _size: int) -> Module:
    relative = file.relative_to(root).as_posix()
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"{relative} cannot be read as Python: {error}") from error
    is_package = file.name == "__init__.py"
    lazy = is_package and any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    collector = _Imports(module, module if is_package else module.rpartition(".")[0], lazy)
    collector.visit(tree)
    if collector.unknown:
        line, what = collector.unknown[0]
        raise UserError(
            f"{relative}, line {line}: {what} takes its module from a name that is known only when it runs, so nobody "
            "can tell what a stage depends on; write the name out, or begin it with a literal package: "
            'import_module(f"steerwright.report.{name}")'
        )
    docstring_only = all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)
    return Module(
        imports=tuple(dict.fromkeys(collector.reached())),
        whole=tuple(dict.fromkeys(collector.whole)),
        defined=frozenset(_defined(tree)),
        lazy=lazy,
        file=None if docstring_only else relative,
        reads_beside=collector.reads_beside,
    )


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


@dataclass
class _Imports(ast.NodeVisitor):
    module: str
    package: str
    lazy: bool
    names: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    bound: dict[str, str] = field(default_factory=dict)
    unknown: list[tuple[int, str]] = field(default_factory=list)
    reads_beside: bool = False
    _chains: list[tuple[str, ...]] = field(default_factory=list)
    _in_lookup: bool = False

    def reached(self) -> Iterator[str]:
        """What is imported, and attributes of what is imported: `import a; a.b` reaches a.b."""
        yield from self.names
        for first, *rest in self._chains:
            if first in self.bound:
                yield ".".join([self.bound[first], *rest])

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.names.append(alias.name)
            self.reads_beside |= alias.name in _BESIDE
            top = alias.name.partition(".")[0]
            self.bound[alias.asname or top] = alias.name if alias.asname else top

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            base = self._absolute("." * node.level + base, self.package)
        self.names.append(base)
        for alias in node.names:
            dotted = f"{base}.{alias.name}"
            self.reads_beside |= dotted in _BESIDE or base in _BESIDE
            if alias.name == "*":
                # Of a lazy package: every name that it has.
                self.names.append(f"{base}.__all__")
                continue
            self.names.append(dotted)
            self.bound[alias.asname or alias.name] = dotted

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
        for child in node.orelse if name == "TYPE_CHECKING" else [*node.body, *node.orelse]:
            self.visit(child)
        if name != "TYPE_CHECKING":
            self.visit(test)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        before, self._in_lookup = self._in_lookup, self._in_lookup or (self.lazy and node.name == "__getattr__")
        self.generic_visit(node)
        self._in_lookup = before

    def visit_Name(self, node: ast.Name) -> None:
        self.reads_beside |= node.id in _BESIDE

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._chains.append((inner.id, *reversed(parts)))
        self.visit(inner)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        called = self.bound.get(called, called).rpartition(".")[2]
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if called in _BY_NAME and (node.args or "name" in given):
            package = given.get("package", node.args[1] if len(node.args) > 1 else None)
            self._by_name(node, called, node.args[0] if node.args else given["name"], package)
        elif called in _BY_PATH:
            self.unknown.append((node.lineno, called))
        elif called == "getattr" and len(node.args) > 1 and isinstance(node.args[0], ast.Name):
            name = node.args[1]
            literal = name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else "__all__"
            self._chains.append((node.args[0].id, literal))
        self.generic_visit(node)

    def _by_name(self, node: ast.Call, called: str, name: ast.expr, package: ast.expr | None) -> None:
        beginning, complete = self._literal(name)
        if beginning.startswith("."):
            base = self.package if package is None or not isinstance(package, ast.Constant) else str(package.value)
            beginning = self._absolute(beginning, base)
        if complete:
            self.names.append(beginning)
        elif "." in beginning:
            if not self._in_lookup:
                self.whole.append(beginning)
        else:
            self.unknown.append((node.lineno, called))

    def _literal(self, name: ast.expr) -> tuple[str, bool]:
        """What a name begins with as far as it is written out, and whether that is all of it."""
        if isinstance(name, ast.Constant):
            return str(name.value), True
        if isinstance(name, ast.Name) and name.id in ("__name__", "__package__"):
            return (self.module if name.id == "__name__" else self.package), True
        if isinstance(name, ast.FormattedValue):
            return self._literal(name.value)
        parts = name.values if isinstance(name, ast.JoinedStr) else ()
        if isinstance(name, ast.BinOp) and isinstance(name.op, ast.Add):
            parts = [name.left, name.right]
        text = ""
        for part in parts:
            more, complete = self._literal(part)
            text += more
            if not complete:
                return text, False
        return text, bool(parts)

    @staticmethod
    def _absolute(name: str, package: str) -> str:
        level = len(name) - len(name.lstrip("."))
        parts = package.split(".")
        kept = ".".join(parts[: len(parts) - level + 1])
        rest = name[level:]
        return f"{kept}.{rest}" if rest and kept else kept or rest
