"""Everything in README.md and docs/ that comes from the program or from a benchmark; `make docs` runs it.

    python -m docs.render [--no-tour]    write the pages anew
    python -m docs.render --check        show what would change, and exit with 1 if anything does

Four things are rendered, the rest of a page is kept:

- Tables between `<!-- table: NAME -->` and `<!-- end -->`, from benchmarks/results/NAME.json or a function in
  `SUMMARIES`: the modules of the package (docs/rooms.py), the names of the Python API (docs/api.py).
- README.md's console blocks, from running their commands on sample_data/ (docs/tour.py). It takes about a minute.
- docs/cli.md, from the program's own declarations (docs/reference.py).
- The man pages in docs/man/, from the same (docs/manual.py).
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import quality, results, unseen
from docs import api, manual, reference, rooms, tour

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "cli.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))
TABLE = re.compile(r"(?<=^<!-- table: )([\w-]+) -->\n.*?^<!-- end -->$", flags=re.MULTILINE | re.DOTALL)


def accuracy() -> str:
    """README's table: test RMSE of the defaults beside the paper's."""
    paper, canonical = (results.load(results.FOLDER / f"{name}.json") for name in ("paper", "canonical-splits"))
    models = ("AutoRec", "I-AutoRec", "U-AutoRec", "user+item bias")
    here = (paper.cell(name, "here") for name in models)
    published = ["", *(f"{paper.value(name, 'paper'):.3f}" for name in models[1:3])]
    u1 = (canonical.value(name, "u1 (95% interval over users)") for name in ("both variants", *models[1:]))
    rows = [
        ["test RMSE, default hyperparameters", "both variants", "I-AutoRec", "U-AutoRec", "user+item bias"],
        ["---", "---:", "---:", "---:", "---:"],
        ["MovieLens 1M, five random 90/10 splits", *(f"{value:.3f} ± {margin:.3f}" for value, margin in here)],
        ["the paper, on its own splits of MovieLens 1M", *published, ""],
        ["MovieLens 100K, u1.base / u1.test, one run", *(f"{value:.3f}" for value in u1)],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


SUMMARIES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "rooms": rooms.render,
    "api": api.render,
    "quality-budgets": quality.budgets,
    "unseen-ratings": unseen.ratings,
    "unseen-rankings": unseen.rankings,
}


def render_tables(page: str) -> str:
    """`page` with its tables from the result files."""
    return TABLE.sub(lambda found: f"{found[1]} -->\n\n{_table(found[1])}\n\n<!-- end -->", page)


def _table(name: str) -> str:
    if name in SUMMARIES:
        return SUMMARIES[name]()
    table = results.load(results.FOLDER / f"{name}.json")
    return f"{results.to_markdown(table)}\n\n<sub>{results.provenance(table)}</sub>"


def render_tour(page: str) -> str:
    """`page` with its console blocks from a fresh run."""
    with tempfile.TemporaryDirectory() as folder:
        return tour.rerun(page, tour.run_in(Path(folder)))


def render(path: Path, with_tour: bool) -> str:
    """The page at `path` as it should be."""
    if path == REFERENCE:
        return reference.render()
    page = path.read_text(encoding="utf-8")
    fresh = render_tables(page)
    return settle(fresh, render_tour(fresh)) if with_tour and path == README else fresh


def settle(page: str, fresh: str) -> str:
    """`fresh` with those blocks of `page` that are alike but for rounding: a rendering changes only what it must.

    Blocks end at blank lines, so that the cells of a table on the screen stay in line.
    """
    old, new = BLOCK.findall(page), BLOCK.findall(fresh)
    if len(old) != len(new):
        return fresh
    return "".join(a if alike(a, b) else b for a, b in zip(old, new, strict=True))


def differences(page: str, fresh: str) -> list[str]:
    """Lines of a diff between a page and what it should be, without those that are alike but for rounding."""
    settled = settle(page, fresh).splitlines()
    return list(difflib.unified_diff(page.splitlines(), settled, "page", "rendered", lineterm="", n=0))


BLOCK = re.compile(r".+?(?:\n\s*\n|\Z)", re.DOTALL)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:(?:, [a-z]+ \d+\.\d)* s\b)?")  # or `1.2, train 3.4 s`, all of it seconds


def alike(old: str, new: str) -> bool:
    """True if two lines or blocks have the same text and nearly the same numbers.

    Seconds may be any; numbers with decimals may differ by one thousandth or, above 1, by 0.2%; whole numbers, such as
    counts, must be the same. Widths of cells depend on numbers, so spaces, rules and curves may differ.
    """
    if [part.split() for part in NUMBER.split(_unruled(old))] != [part.split() for part in NUMBER.split(_unruled(new))]:
        return False
    return all(_close(a, b) for a, b in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True))


def _unruled(line: str) -> str:
    return re.sub("[▁-█]+", "▁", re.sub("─+", "─", line))


def _close(old: str, new: str) -> bool:
    if old.endswith(" s") and new.endswith(" s"):
        return True
    if "." not in old or "." not in new:
        return old == new
    a, b = (float(text.replace(",", "")) for text in (old, new))
    return abs(a - b) <= 0.001 + 1e-9 if max(a, b) < 1 else abs(a - b) <= 0.002 * max(a, b)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    parser.add_argument("--no-tour", action="store_true", help="leave README's console blocks alone")
    asked = parser.parse_args()
    stale = list(_stale(not asked.no_tour, write=not asked.check))
    for diff in stale:
        print(diff)
    return 1 if asked.check and stale else 0


def _stale(with_tour: bool, write: bool) -> Iterator[str]:
    """A diff for each page that is out of date; with `write`, the page is written anew."""
    fresh_pages = ((path, render(path, with_tour)) for path in dict.fromkeys((*PAGES, REFERENCE)))
    for path, fresh in (*fresh_pages, *manual.render().items()):
        page = path.read_text(encoding="utf-8") if path.exists() else ""
        if page != fresh:
            if write:
                path.write_text(fresh, encoding="utf-8")
            diff = difflib.unified_diff(page.splitlines(), fresh.splitlines(), "page", "rendered", lineterm="", n=0)
            yield "\n".join([str(path.relative_to(ROOT)), *diff])


if __name__ == "__main__":
    sys.exit(main())
