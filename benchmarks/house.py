"""The house in figures: import arrows and circles, `Any`, broad `except`, long functions (`make house`)."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

from tabulate import tabulate

LONG = 40  # lines of a function, its signature included
PACKAGES = {
    "weightsmith": "weightsmith",
    "converters": "weightsmith.converters",
}  # folder -> how it is imported


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module that is installed."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = [package, *path.relative_to(root / folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the house that a file imports, at its top, in its functions or for its types."""
    arrows = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            arrows |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            arrows |= {module if module in known else node.module for module in whole}
    return arrows & known.keys() - {name}


def room(module: str, path: Path, below: str) -> str:
    """Where a module of the package `below` lives: the folder directly in it, else the module itself."""
    rest = module.removeprefix(below).lstrip(".").split(".")
    return f"{below}.{rest[0]}" if rest[0] else f"{below}.{path.stem}"


def circles(arrows: set[tuple[str, str]]) -> list[list[str]]:
    """Groups of two and more that all reach one another (strongly connected components)."""
    nodes = {end for arrow in arrows for end in arrow}
    reach = {node: {b for a, b in arrows if a == node} for node in nodes}
    for middle in nodes:  # Warshall's closure: a few hundred nodes
        for node in nodes:
            if middle in reach[node]:
                reach[node] |= reach[middle]
    groups = {tuple(sorted(b for b in nodes if b in reach[a] and a in reach[b])) for a in nodes}
    return sorted(list(group) for group in groups if len(group) > 1)


def graph_rows(known: dict[str, Path]) -> list[list[object]]:
    every = {(a, b) for a, path in known.items() for b in imported(a, path, known)}
    rows: list[list[object]] = []
    packages = sorted(
        {name.split(".")[1] for name, path in known.items() if path.name == "__init__.py" and "." in name}
    )
    for below in ["weightsmith", *(f"weightsmith.{package}" for package in packages)]:
        inside = {name for name in known if name == below or name.startswith(f"{below}.")}
        files = {(a, b) for a, b in every if {a, b} <= inside}
        placed = {name: room(name, known[name], below) for name in inside}
        rooms = {(placed[a], placed[b]) for a, b in files if placed[a] != placed[b]}
        rows.append(
            [
                below,
                len(inside),
                len(files),
                len(circles(files)),
                len(set(placed.values())),
                len(rooms),
                len(circles(rooms)),
            ]
        )
    return rows


def broad(handler: ast.ExceptHandler) -> bool:
    caught = ast.walk(handler.type) if handler.type else []
    return handler.type is None or any(
        isinstance(n, ast.Name) and n.id in {"Exception", "BaseException"} for n in caught
    )


def code_counts(known: dict[str, Path]) -> Counter[str]:
    """What reviewers count: lines with `Any`, broad handlers, functions of more than LONG lines, lines in all."""
    found: Counter[str] = Counter()
    for path in known.values():
        text = path.read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(text)))
        named = {node.lineno for node in nodes if isinstance(node, ast.Name) and node.id == "Any"}
        found["lines that say Any"] += len(named)
        found["broad except"] += sum(isinstance(node, ast.ExceptHandler) and broad(node) for node in nodes)
        functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        long = sum((f.end_lineno or f.lineno) - f.lineno + 1 > LONG for f in functions)
        found[f"functions over {LONG} lines"] += long
        found["functions"] += len(functions)
        found["lines"] += text.count("\n")
    return found


def same_names(known: dict[str, Path]) -> tuple[int, int]:
    """How many module names, and how many class names, occur more than once."""
    stems = Counter(path.stem for path in known.values() if not path.stem.startswith("__"))
    classes = Counter(
        node.name
        for path in known.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    return sum(n > 1 for n in stems.values()), sum(n > 1 for n in classes.values())


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    known = modules(root)
    heads = ["package", "files", "arrows", "circles", "rooms", "arrows between", "circles between"]
    print(tabulate(graph_rows(known), heads))
    counts = code_counts(known)
    stems, classes = same_names(known)
    twice = [["module names that occur twice", stems], ["class names that occur twice", classes]]
    print("\n" + tabulate([*sorted(counts.items()), *twice]))


if __name__ == "__main__":
    main()
