"""The README's table of the seed names tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = 14


def rows() -> list[list[str]]:
    """The cells of the table's rows."""
    section = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("## The seed, chapter by chapter")[1].split("\n## ")[0]
    )
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_each_chapter_names_a_test_that_exists() -> None:
    table = rows()
    assert len(table) == CHAPTERS
    for chapter, what, proof in table:
        assert what, chapter
        found = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", proof)
        assert found is not None, f"{chapter}: {proof}"
        module = ast.parse((ROOT / found[1]).read_text(encoding="utf-8"))
        names = {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert found[2] in names, f"{chapter}: {found[1]} has no {found[2]}"
