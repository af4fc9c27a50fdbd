"""Regenerates the parts of the documentation that come from the code, and checks its links.

    python docs/build.py            write what has changed, then check every link
    python docs/build.py --check    write nothing; exit 1 if a page is out of date or a link leads nowhere

A page is written by hand. Where it needs facts that the code knows better, it has a pair of markers with the name of
a block, and everything between them is replaced:

    <!-- generated:exit-codes -->
    <!-- /generated -->

Rules kept here: a block depends on the code alone, never on the clock or the machine; a marker without a block, and a
block without a marker, are errors; links are checked to files, to headings, and to paths of the repository that stand
in backticks.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # so that the blocks below are found whoever runs this file

from blocks import attacks, audit, choosing, cli, documents, permissions, protocol, states

ROOT = Path(__file__).parents[1]
BLOCKS: Mapping[str, Callable[[], str]] = {
    **states.BLOCKS,
    **protocol.BLOCKS,
    **documents.BLOCKS,
    **audit.BLOCKS,
    **cli.BLOCKS,
    **attacks.BLOCKS,
    **choosing.BLOCKS,
    **permissions.BLOCKS,
}

_MARKED = re.compile(r"(<!-- generated:([a-z0-9-]+) -->\n)(.*?)(<!-- /generated -->)", re.DOTALL)
_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_TOP_FOLDERS = (
    "crypto",
    "governance",
    "platform",
    "cli",
    "migrations",
    "tests",
    "benchmarks",
    "examples",
    "docs",
    "deploy",
)
_REPOSITORY_PATH = re.compile(rf"`((?:{'|'.join(_TOP_FOLDERS)})/[A-Za-z0-9_./-]+)`")


def pages() -> list[Path]:
    """Every page of the documentation."""
    found = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    ]
    return sorted(found)


def regenerated(text: str, page: Path, used: set[str]) -> str:
    """The page's text with every block written anew.

    Args:
        text: The page as it is.
        page: Its path, for the sentence.
        used: Names of blocks met so far; added to.

    Raises:
        SystemExit: A marker names no block.
    """

    def replace(match: re.Match[str]) -> str:
        opening, name, _, closing = match.groups()
        if name not in BLOCKS:
            raise SystemExit(f"{page}: there is no block called {name}; known: {', '.join(sorted(BLOCKS))}")
        used.add(name)
        return f"{opening}\n{BLOCKS[name]().strip()}\n\n{closing}"

    return _MARKED.sub(replace, text)


def broken_links(page: Path, text: str) -> Iterator[str]:
    """A sentence for each link of a page that leads nowhere."""
    prose = _FENCE.sub("", text)
    for target in _LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        if not file.exists():
            yield f"{page.relative_to(ROOT)}: the link {target} leads to no file"
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file.read_text(encoding="utf-8")):
            yield f"{page.relative_to(ROOT)}: the link {target} leads to no heading"
    for path in _REPOSITORY_PATH.findall(prose):
        if not (ROOT / path).exists():
            yield f"{page.relative_to(ROOT)}: `{path}` is not in the repository"


def _anchors(text: str) -> set[str]:
    """Anchors as the usual hosting platforms make them from headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (anchor if number == 0 else f"{anchor}-{number}") in found:
            number += 1
        found.add(anchor if number == 0 else f"{anchor}-{number}")
    return found


def main(arguments: list[str]) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description="Regenerate the documentation's generated parts and check links.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if something is out of date")
    check: bool = parser.parse_args(arguments).check
    used: set[str] = set()
    faults: list[str] = []
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = regenerated(before, page, used)
        if after != before and check:
            faults.append(f"{page.relative_to(ROOT)} is out of date; run `make docs`")
        elif after != before:
            page.write_text(after, encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")
        faults.extend(broken_links(page, after))
    faults.extend(f"the block {name} is on no page" for name in sorted(BLOCKS.keys() - used))
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(pages())} pages, {len(used)} generated blocks, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
