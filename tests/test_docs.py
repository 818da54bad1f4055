"""Rules that can rot: documents link to what exists, and names say what a thing is (STYLE 7 and 34)."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("shop", "orders", "payments")
FRAMEWORKS_NAMES = {"process_exception"}
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


def test_no_module_or_function_has_a_name_that_says_nothing() -> None:
    found = []
    for path in (file for folder in OURS for file in (ROOT / folder).rglob("*.py")):
        names = [path.stem]
        names += [
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        ]
        names = [name for name in names if not name.startswith("test_") and name not in FRAMEWORKS_NAMES]
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
