"""The source of the package as the laws look at it: its modules, what each imports, and the laws themselves.

A law is a function of a folder that holds the package. It returns every violation with its file and line, so that a test can
plant one into a copy of the package and see that the law finds it.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = "pytest_torchscript"
STDLIB = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True)
class Violation:
    """A place that breaks a law, and the name that breaks it."""

    file: str
    line: int
    does: str
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.does} {self.name}"

    def is_one_of(self, exceptions: Collection[tuple[str, str]]) -> bool:
        """Whether a pair of a file and a name excuses it; ``*`` stands for every file, or every name in the file."""
        return not {(self.file, self.name), ("*", self.name), (self.file, "*")}.isdisjoint(exceptions)


@dataclass(frozen=True)
class Import:
    """One imported name. ``file`` is the file of the package that it leads to; None where it leads outside."""

    name: str
    line: int
    file: str | None
    for_types: bool

    @property
    def package(self) -> str:
        """``torch`` of ``torch.nn.functional``."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Module:
    """One file, parsed."""

    name: str
    text: str
    tree: ast.Module

    @functools.cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node, those inside functions included."""
        return list(ast.walk(self.tree))

    @functools.cached_property
    def for_types(self) -> frozenset[ast.AST]:
        """The nodes that only a type checker reads."""
        blocks = [node for node in self.nodes if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
        return frozenset(inner for block in blocks for statement in block.body for inner in ast.walk(statement))

    @functools.cached_property
    def imported(self) -> list[tuple[str, int, bool]]:
        """Absolute name, line, and whether only a type checker reads it, for every import, those inside functions too."""
        folder = [NAME, *Path(self.name).parent.parts]
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(alias.name, node.lineno, node in self.for_types) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = folder[: len(folder) + 1 - node.level] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                found += [(f"{source}.{alias.name}", node.lineno, node in self.for_types) for alias in node.names]
        return found

    @functools.cached_property
    def aliases(self) -> dict[str, str]:
        """What an imported name stands for: ``F`` for ``torch.nn.functional``."""
        found = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found.update({alias.asname: alias.name for alias in node.names if alias.asname})
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
        return found

    @functools.cached_property
    def dotted(self) -> list[tuple[str, int]]:
        """Every dotted name with its line, aliases spelled out: ``torch.jit.trace``."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Attribute):
                first, _, others = ast.unparse(node).partition(".")
                found.append((f"{self.aliases.get(first, first)}.{others}", node.lineno))
            elif isinstance(node, ast.Name) and node.id in self.aliases:
                found.append((self.aliases[node.id], node.lineno))
        return found

    @functools.cached_property
    def texts(self) -> list[tuple[str, int]]:
        """Every text with its line, docstrings left out."""
        docstrings = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        constants = [node for node in self.nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
        return [(node.value, node.lineno) for node in constants if isinstance(node.value, str)]


@functools.cache
def _parsed(name: str, text: str) -> Module:
    return Module(name, text, ast.parse(text, name))


def modules(root: Path) -> dict[str, Module]:
    """Every file of a package by its name; a text that was parsed before is not parsed again."""
    files = sorted(root.rglob("*.py"))
    names = {file: file.relative_to(root).as_posix() for file in files}
    return {name: _parsed(name, file.read_text(encoding="utf-8")) for file, name in names.items()}


def imports(module: Module, files: Collection[str]) -> Iterator[Import]:
    """What a file imports, each name with the file of the package that it leads to."""
    for name, line, for_types in module.imported:
        yield Import(name, line, _file(name, files), for_types)


def _file(name: str, files: Collection[str]) -> str | None:
    """The file that an absolute name leads to: the module itself, or the one that holds the name."""
    package, *parts = name.split(".")
    if package != NAME:
        return None
    for count in range(len(parts), -1, -1):
        stem = "/".join(parts[:count])
        for candidate in (f"{stem}.py", f"{stem}/__init__.py".lstrip("/")):
            if candidate in files:
                return candidate
    return None


def room_of(name: str, rooms: Collection[str]) -> str | None:
    """The room that a file stands in: the most exact one of the list."""
    fitting = [room for room in rooms if name == room or (room.endswith("/") and name.startswith(room))]
    return max(fitting, key=len, default=None)


# Who imports what


def order(root: Path, rooms: Sequence[str]) -> list[Violation]:
    """A room imports only itself and the rooms before it."""
    house = modules(root)
    homeless = [Violation(name, 1, "stands in", "no room of the list") for name in house if room_of(name, rooms) is None]
    place = {name: rooms.index(room_of(name, rooms) or rooms[-1]) for name in house}
    return homeless + [
        Violation(name, entry.line, "imports from a later room", entry.file)
        for name, module in house.items()
        for entry in imports(module, house)
        if entry.file is not None and place[entry.file] > place[name]
    ]


def circles(root: Path) -> list[Violation]:
    """No file imports itself by way of others, type-only imports included."""
    house = modules(root)
    edges = {name: _files(module, house) for name, module in house.items()}
    return [
        Violation(name, line, "is led back to itself by", file)
        for name, reached in edges.items()
        for file, line in reached.items()
        if file != name and name in _reachable(file, edges)
    ]


def _files(module: Module, house: Mapping[str, Module], *, loaded: bool = False) -> dict[str, int]:
    """The files of the package that a file imports, each with the line; ``loaded``: without those for a type checker."""
    found = [entry for entry in imports(module, house) if not (loaded and entry.for_types)]
    return {entry.file: entry.line for entry in found if entry.file is not None}


def _reachable(start: str, edges: Mapping[str, Collection[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = set(edges[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def checks_apart(root: Path) -> list[Violation]:
    """No check imports another one; what they share is in ``base``, which imports none."""
    house = modules(root)
    checks = {name for name in house if name.startswith("checks/") and name != "checks/__init__.py"}
    return [
        Violation(name, line, "imports another check,", file)
        for name in sorted(checks)
        for file, line in _files(house[name], house).items()
        if file.startswith("checks/") and file not in (name, "checks/base.py")
    ]


def targets_apart(root: Path, public: Collection[str]) -> list[Violation]:
    """A target imports what any other target may use, and no other target."""
    house = modules(root)
    folders = {name: "/".join(name.split("/")[:2]) for name in house if re.match(r"targets/\w+/", name)}
    return [
        Violation(name, line, "imports", file)
        for name, folder in folders.items()
        for file, line in _files(house[name], house).items()
        if not file.startswith(f"{folder}/") and file not in public
    ]


def imported_only_in(root: Path, packages: Collection[str], rooms: Collection[str]) -> list[Violation]:
    """Only the named rooms import these packages, type-only imports included."""
    house = modules(root)
    return [
        Violation(name, entry.line, "imports", entry.package)
        for name, module in house.items()
        if room_of(name, rooms) is None
        for entry in imports(module, house)
        if entry.package in packages
    ]


def light(root: Path, rooms: Collection[str], allowed: Collection[str]) -> list[Violation]:
    """The named rooms load nothing but the standard library and ``allowed``, also not by way of a third file."""
    house = modules(root)
    edges = {name: _files(module, house, loaded=True) for name, module in house.items()}
    heavy = {name: _heavy(module, house, allowed) for name, module in house.items()}
    found = []
    for name in (name for name in house if room_of(name, rooms) is not None):
        found += [Violation(name, entry.line, "imports", entry.package) for entry in heavy[name]]
        for file, line in edges[name].items():
            if room_of(file, rooms) is None and any(heavy[other] for other in (file, *_reachable(file, edges))):
                found.append(Violation(name, line, "loads more than it may by way of", file))
    return found


def _heavy(module: Module, house: Mapping[str, Module], allowed: Collection[str]) -> list[Import]:
    outside = [entry for entry in imports(module, house) if entry.file is None and not entry.for_types]
    return [entry for entry in outside if entry.package not in {*STDLIB, *allowed}]


def undeclared(root: Path, declared: Collection[str]) -> list[Violation]:
    """Whatever is imported is the standard library's, this package's, or declared."""
    return imported_only_in(root, _packages(root) - STDLIB - {NAME, *declared}, ())


def _packages(root: Path) -> set[str]:
    house = modules(root)
    return {entry.package for module in house.values() for entry in imports(module, house)}


def dynamic(root: Path) -> list[Violation]:
    """No module is imported by a name made at run time: no other law sees such an import."""
    ways = ("importlib.import_module", "import_module", "__import__", "exec", "eval")
    return [
        Violation(name, node.lineno, "calls", ast.unparse(node.func))
        for name, module in modules(root).items()
        for node in module.nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ways
    ]


# Inner parts of torch, and private names of anything

NODES = (
    "inlined_graph",
    "ShapeEnv",
    "sourceRange",
    "kindOf",
    "attributeNames",
    "debugName",
    "scopeName",
    "findNode",
    "toIValue",
    "_c",
)
"""Attributes that only graphs of TorchScript, their nodes and their values have."""


def jit_only_in(root: Path, home: str) -> list[Violation]:
    """torch.jit is named, and a graph of it walked, in one room only."""
    return [
        Violation(name, line, "names", text)
        for name, module in modules(root).items()
        if not name.startswith(home)
        for text, line in sorted(set(_of_jit(module)))
    ]


def _of_jit(module: Module) -> Iterator[tuple[str, int]]:
    for text, line in module.dotted:
        match = re.search(r"(?:^|\.)(jit\.\w+)", text)
        if match:
            # By whatever name torch goes in this file.
            yield f"torch.{match[1]}", line
    yield from ((text, line) for text, line in _named_attributes(module) if text in ("jit", *NODES))
    yield from ((name, line) for name, line, _ in module.imported if name.startswith("torch.jit"))
    yield from _attributes(module, NODES)


def _attributes(module: Module, names: Collection[str]) -> Iterator[tuple[str, int]]:
    yield from ((node.attr, node.lineno) for node in module.nodes if isinstance(node, ast.Attribute) and node.attr in names)


_BY_NAME = ("getattr", "setattr", "hasattr", "delattr", "attrgetter", "operator.attrgetter")


def _named_attributes(module: Module) -> Iterator[tuple[str, int]]:
    """Attributes that a text names: ``getattr(x, "a")``, ``vars(x)["a"]``, ``x.__dict__["a"]``."""
    for node in module.nodes:
        texts: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _BY_NAME:
            texts = node.args
        elif isinstance(node, ast.Subscript) and re.search(r"^vars\(|\.__dict__$", ast.unparse(node.value)):
            texts = [node.slice]
        for text in texts:
            if isinstance(text, ast.Constant):
                yield from ((part, text.lineno) for part in str(text.value).split("."))


def attributes_in(root: Path, rooms: Collection[str], names: Collection[str]) -> list[Violation]:
    """No attribute of these names is touched in the named rooms."""
    return [
        Violation(name, line, "touches", text)
        for name, module in modules(root).items()
        if room_of(name, rooms) is not None
        for text, line in _attributes(module, names)
    ]


def private_only_in(root: Path, home: str) -> list[Violation]:
    """A private name of anything but this package is used in one room only."""
    house = modules(root)
    ours = {text for module in house.values() for text in _defined(module)}
    return [
        Violation(name, line, "uses the private name", text)
        for name, module in house.items()
        if not name.startswith(home)
        for text, line in sorted(set(_private(module)))
        if text not in ours
    ]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _defined(module: Module) -> Iterator[str]:
    """The private names that a file defines."""
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            # What is written into another object is that object's name.
            yield node.attr


def _private(module: Module) -> Iterator[tuple[str, int]]:
    """The private names that a file uses: as an attribute, in a text that names an attribute, or imported."""
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            yield node.attr, node.lineno
    yield from ((text, line) for text, line in _named_attributes(module) if _is_private(text))
    for name, line, _ in module.imported:
        if not name.startswith((NAME, "__future__")):
            yield from ((part, line) for part in name.split(".") if _is_private(part))


# State

CONSTANT = (
    *("frozenset", "tuple", "type", "object", "field", "TypeVar", "StashKey", "pytest.StashKey", "re.compile"),
    *("Path", "os.path.dirname", "torch.iinfo"),
)
"""Calls that make what nobody can write to."""


def kept_state(root: Path, makers: Collection[str]) -> list[Violation]:
    """Nothing at the level of a module or class can be written to, and no function keeps what it returned.

    A list or set is forbidden there, but for ``__all__``. A dict has to be declared a ``Mapping``: mypy lets nobody write into
    one. ``makers`` are functions of the package whose results nobody can write to; frozen dataclasses are known.
    """
    house = modules(root)
    known = {*CONSTANT, *makers, *(name for module in house.values() for name in _frozen(module))}
    return [
        Violation(name, line, "keeps state in", text)
        for name, module in house.items()
        for text, line in sorted({*_written(module), *_cached(module), *_assigned(module, known)})
    ]


def _frozen(module: Module) -> Iterator[str]:
    """The classes of a file whose instances do not change: frozen dataclasses, enumerations."""
    for node in module.nodes:
        if isinstance(node, ast.ClassDef):
            words = [*map(ast.unparse, node.decorator_list), *map(ast.unparse, node.bases)]
            if any("frozen=True" in text or text in ("Enum", "NamedTuple") for text in words):
                yield node.name


def _written(module: Module) -> Iterator[tuple[str, int]]:
    for node in module.nodes:
        if isinstance(node, ast.Global):
            yield from ((name, node.lineno) for name in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "globals":
            yield "globals()", node.lineno


def _cached(module: Module) -> Iterator[tuple[str, int]]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef):
            decorators = map(ast.unparse, node.decorator_list)
            if any(re.match(r"(functools\.)?(lru_)?cache\b", text) for text in decorators):
                yield node.name, node.lineno


def _assigned(module: Module, known: Collection[str]) -> Iterator[tuple[str, int]]:
    for statement in _at_import(module.tree):
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            target = ast.unparse(statement.targets[0] if isinstance(statement, ast.Assign) else statement.target)
            annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else ""
            if target != "__all__" and _can_be_written(statement.value, annotation, known):
                yield target, statement.lineno


def _at_import(body: ast.Module | ast.ClassDef | ast.If | ast.Try) -> Iterator[ast.stmt]:
    """The statements that run when a file is imported, those of its classes included."""
    for statement in body.body:
        yield statement
        if isinstance(statement, ast.ClassDef | ast.If | ast.Try):
            yield from _at_import(statement)


def _can_be_written(value: ast.expr, annotation: str, known: Collection[str]) -> bool:
    if isinstance(value, ast.Dict | ast.DictComp):
        return not re.match(r"((ClassVar|Final)\[)?Mapping\b", annotation)
    if isinstance(value, ast.Tuple):
        return any(_can_be_written(entry, "", known) for entry in value.elts)
    if isinstance(value, ast.Call):
        return _called(value.func) not in known
    if isinstance(value, ast.GeneratorExp):
        # Unpacked into names.
        return _can_be_written(value.elt, "", known)
    if isinstance(value, ast.IfExp | ast.BoolOp | ast.BinOp):
        return any(
            _can_be_written(part, annotation, known) for part in ast.iter_child_nodes(value) if isinstance(part, ast.expr)
        )
    return isinstance(value, ast.List | ast.Set | ast.ListComp | ast.SetComp)


def _called(function: ast.expr) -> str:
    """The name that a call comes down to: ``Path`` of ``Path(x).with_name``, ``StashKey`` of ``StashKey[int]``."""
    if isinstance(function, ast.Call):
        return _called(function.func)
    if isinstance(function, ast.Subscript):
        return _called(function.value)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Call):
        return _called(function.value.func)
    return ast.unparse(function)


# Words and sizes


def named_in(root: Path, rooms: Collection[str], names: Collection[str], *, word: str = r"[\w-]+") -> list[Violation]:
    """None of ``names`` is a word of a text in the named rooms; docstrings left out. ``word`` matches a word."""
    return [
        Violation(file, line, "names", name)
        for file, module in modules(root).items()
        if room_of(file, rooms) is not None
        for text, line in module.texts
        for name in sorted(set(re.findall(word, text)).intersection(names))
    ]


def long_files(root: Path, most: int) -> list[Violation]:
    """No file has more lines."""
    counts = {name: len(module.text.splitlines()) for name, module in modules(root).items()}
    return [
        Violation(name, count, "is too long, with more lines than", str(most)) for name, count in counts.items() if count > most
    ]


def long_functions(root: Path, most: int) -> list[Violation]:
    """No function has more lines."""
    return [
        Violation(name, node.lineno, "has a function that is too long,", node.name)
        for name, module in modules(root).items()
        for node in module.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= most
    ]
