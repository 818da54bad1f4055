"""Rules that can rot: documents link to what exists, and names say what a thing is (STYLE 7 and 34)."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("shop", "orders", "payments")
GIVEN_NAMES = {"process_exception", "may_see_personal_data"}  # Django's, and after a permission of the contract
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "service", "handler", "process", "data"}


def _documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_every_relative_link_of_a_document_leads_to_a_file() -> None:
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in _documents()
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_the_readme_names_every_layer_and_both_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [n for n in "12345" if f"| {n} | " not in readme] == []
    assert "make run" in readme
    assert "make test" in readme


# The catalogue's numbers; it has gaps.
FAILURES = (
    *(1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32, 34, 35, 37, 38, 40, 41, 43, 44),
    *(46, 47, 49, 50, 52, 53, 55, 56, 58, 59, 61, 62, 64, 65, 67, 68, 70, 71, 73, 74, 76, 77, 79, 80, 82, 83, 85, 86),
    *(88, 89, 91, 92, 94, 95, 97, 98, 100, 101, 103, 104, 106, 107, 109, 110, 112, 113, 115, 116, 118, 119, 121, 122),
    *(124, 125, 127, 128),
)


def _tests_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_failure_of_the_catalogue_is_shown_by_tests_that_exist_or_says_why_not() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs" / "failures.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(FAILURES)
    named = {number: re.findall(r"`(tests/\S+)::(test_\w+)`", shown) for number, _, shown in rows}
    assert [
        f"{number}: {path}::{name}"
        for number, tests in named.items()
        for path, name in tests
        if not (ROOT / path).is_file() or name not in _tests_of(path)
    ] == []
    assert [number for number, _, shown in rows if not named[number] and not shown.endswith(".")] == []
    assert sum(not tests for tests in named.values()) == 3, "a failure that cannot happen here says why, and is counted"


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text()))
    there = {name for path in (ROOT / "tests").rglob("test_*.py") for name in _tests_of(str(path.relative_to(ROOT)))}
    assert named
    assert named - there == set()


def test_no_module_or_function_has_a_name_that_says_nothing() -> None:
    found = []
    for path in (file for folder in OURS for file in (ROOT / folder).rglob("*.py")):
        names = [path.stem]
        names += [
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        ]
        names = [name for name in names if not name.startswith("test_") and name not in GIVEN_NAMES]
        words = {(name, word) for name in names for word in re.split(r"_|(?<=[a-z])(?=[A-Z])", name)}
        found += [f"{path.relative_to(ROOT)}: {name}" for name, word in words if word.lower() in BANNED]
    assert found == []


def test_no_document_or_source_tells_a_shopper_not_to_reload() -> None:
    told = re.compile(r"do ?n[o']t (refresh|reload|close|go back|press back)", re.IGNORECASE)
    pages = [
        *(ROOT / "templates").rglob("*.html"),
        *(ROOT / "templates").rglob("*.txt"),
        *(ROOT / "static").rglob("*.js"),
    ]
    assert len(pages) > 20
    assert [str(page.relative_to(ROOT)) for page in pages if told.search(page.read_text())] == []
