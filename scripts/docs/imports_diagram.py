"""The diagram of the architecture: the library's packages in the order that tests/test_architecture.py checks, and
which of them imports which, read from the code."""

from __future__ import annotations

import ast
import html
import pathlib
from typing import Dict, List, Set, Tuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "caffeonspark"
WIDTH, ROW, BOX = 860, 78, 30  # pixels: of the picture, from row to row, the height of a box
NOT_DRAWN = {"_version", "estimator", "__main__"}  # names only


def order() -> List[str]:
    """The packages and modules that are drawn, each behind all that it may import."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text())
    (found,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "ORDER"]
    names: List[str] = ast.literal_eval(found)
    return [name for name in names if name not in NOT_DRAWN]


def imported() -> Dict[str, Set[str]]:
    """What each of them imports of the others, for typing too."""
    found: Dict[str, Set[str]] = {name: set() for name in order()}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = ["caffeonspark", *parts[:-1]][: len(parts) + 1 - node.level]
                names = [*base, *(node.module or "").split(".")]
                targets = {names[1]} if len(names) > 1 and names[1] else {alias.name for alias in node.names}
                if parts[0] in found:
                    found[parts[0]] |= (targets & found.keys()) - {parts[0]}
    return found


def levels(imports: Dict[str, Set[str]]) -> Dict[str, int]:
    """The row of each, from below: above everything that it imports."""
    found: Dict[str, int] = {}
    for name in order():
        found[name] = 1 + max((found[other] for other in imports[name]), default=-1)
    return found


def direct(imports: Dict[str, Set[str]]) -> Set[Tuple[str, str]]:
    """(importer, imported) without those that follow from others."""
    reach: Dict[str, Set[str]] = {}
    for name in order():
        reach[name] = imports[name].union(*(reach[other] for other in imports[name]))
    pairs = {(name, other) for name in imports for other in imports[name]}
    return {(a, b) for a, b in pairs if not any(b in reach[c] for c in imports[a])}


def svg() -> str:
    """The diagram as a picture: who imports whom, from above to below."""
    imports = imported()
    rows = levels(imports)
    pairs = direct(imports)
    height = (max(rows.values()) + 1) * ROW
    places = _places(rows, pairs, height)
    lines = [
        f'<svg class="imports" viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg" role="img" '
        'aria-label="Who imports whom" font-size="14" text-anchor="middle">'
    ]
    for upper, lower in sorted(pairs):
        (x, y), (to_x, to_y) = places[upper], places[lower]
        start, end = y + BOX, to_y
        bend = (end - start) * 0.5
        lines.append(
            f'<path d="M{x:.0f} {start:.0f}C{x:.0f} {start + bend:.0f} {to_x:.0f} {end - bend:.0f} {to_x:.0f} {end}" '
            f'fill="none" stroke="currentColor" opacity=".45"><title>{upper} imports {lower}</title></path>'
        )
    for name, (x, y) in places.items():
        width = 22 + 8.4 * len(name)
        lines.append(
            f'<rect x="{x - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX}" rx="5"/>'
            f'<text x="{x:.0f}" y="{y + 20:.0f}">{html.escape(name)}</text>'
        )
    return "".join([*lines, "</svg>"])


def _places(rows: Dict[str, int], pairs: Set[Tuple[str, str]], height: int) -> Dict[str, Tuple[float, float]]:
    """Where the boxes are: (middle, upper edge). In a row, by the mean of what is connected in the rows next to it."""
    names = {row: [name for name in order() if rows[name] == row] for row in set(rows.values())}
    across: Dict[str, float] = {}

    def spread(row: int) -> None:
        step = WIDTH / len(names[row])
        across.update({name: (number + 0.5) * step for number, name in enumerate(names[row])})

    for row in names:
        spread(row)
    for _ in range(8):
        for row in [*sorted(names), *sorted(names, reverse=True)]:
            near = {name: [across[b if a == name else a] for a, b in pairs if name in (a, b)] for name in names[row]}
            names[row].sort(key=lambda name: sum(near[name]) / len(near[name]) if near[name] else across[name])
            spread(row)
    return {name: (across[name], height - (rows[name] + 1) * ROW + (ROW - BOX) / 2) for name in across}
