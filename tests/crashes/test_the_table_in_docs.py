"""docs/crashes.md tells of every crash point, of what repaired it, and of the night."""

import re

from shop.env import BASE_DIR
from tests.crashes.crash_points import POINTS

COLUMNS = 8


def test_every_crash_point_has_its_measured_row() -> None:
    text = (BASE_DIR / "docs" / "crashes.md").read_text()
    rows = re.findall(r"^\| (C\d+) \|.*\|$", text, re.MULTILINE)
    assert rows == list(POINTS)
    for row in re.findall(r"^\| C\d+ \|.*\|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == COLUMNS
        assert all(cells), row
        assert "not within the run" not in row
    assert "python -m tests.crashes.measure" in text
    assert "python -m tests.night" in text
