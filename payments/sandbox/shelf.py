"""Objects of one kind, in the order in which they were made, kept as JSON text.

Text because what is read is then a fresh copy, never the original: nothing changes behind the book's back.
"""

from __future__ import annotations

import bisect
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Json = dict[str, Any]


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


Render = Callable[[Any], tuple[Json, Json]]


class Shelf:
    """`render` makes the object and its private part of what was brought in as a row, when somebody looks at it."""

    def __init__(self, render: Render | None = None) -> None:
        self._text: dict[str, str] = {}
        self._rows: dict[str, Any] = {}
        self._render = render or (lambda row: ({}, {}))
        self._inner: dict[str, str] = {}  # what an event is about
        self._private: dict[str, Json] = {}
        self._order: list[str] = []
        self._place: dict[str, int] = {}
        self._created: list[int] = []
        self._arranged = True
        self._lock = threading.Lock()

    def put(self, thing: Json, private: Json | None = None, inner: str | None = None) -> str:
        key = thing["id"]
        if private is None and key in self._rows:
            private = self.private(key)
        text = dump(thing)
        self._text[key] = text
        if private is not None:
            self._private[key] = private
        if inner is not None:
            self._inner[key] = inner
        self._rows.pop(key, None)
        self._add(key, thing["created"])
        return text

    def put_row(self, key: str, created: int, row: Any) -> None:
        self._rows[key] = row
        self._add(key, created)

    def _add(self, key: str, created: int) -> None:
        with self._lock:
            if key in self._place:
                return
            self._arranged = self._arranged and (not self._created or self._created[-1] <= created)
            self._place[key] = len(self._order)
            self._order.append(key)
            self._created.append(created)

    def _arrange(self) -> None:
        """In the order of `created`: what was brought in later may be older."""
        with self._lock:
            if self._arranged:
                return
            places = sorted(range(len(self._order)), key=self._created.__getitem__)
            self._order = [self._order[place] for place in places]
            self._created = [self._created[place] for place in places]
            self._place = {key: place for place, key in enumerate(self._order)}
            self._arranged = True

    def get(self, key: str) -> Json | None:
        text = self._text.get(key)
        if text is None:
            row = self._rows.get(key)
            return None if row is None else self._render(row)[0]
        thing: Json = json.loads(text)
        if key in self._inner:
            thing["data"]["object"] = json.loads(self._inner[key])
        return thing

    def private(self, key: str) -> Json:
        row = self._rows.get(key)
        return dict(self._private.get(key, {})) if row is None else self._render(row)[1]

    def text(self, key: str) -> str:
        row = self._rows.get(key)
        return self._text[key] if row is None else dump(self._render(row)[0])

    def __contains__(self, key: str) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Json]:
        """Oldest first."""
        for key in list(self._order):
            thing = self.get(key)
            assert thing is not None
            yield thing

    def newest_first(self, after: str | None = None, among: Iterable[str] | None = None) -> Iterator[str]:
        """Ids, those after `after` only."""
        self._arrange()
        last = self._place[after] - 1 if after in self._place else len(self._order) - 1
        places: Sequence[int] = range(last, -1, -1)
        if among is not None:
            places = sorted((self._place[key] for key in among if self._place[key] <= last), reverse=True)
        return (self._order[place] for place in places)

    def page(
        self,
        *,
        limit: int,
        created: dict[str, int] | None = None,
        after: str | None = None,
        before: str | None = None,
        wanted: Callable[[Json], bool] | None = None,
        among: Iterable[str] | None = None,
    ) -> tuple[list[Json], bool]:
        """Newest first, as Stripe lists (Stripe: pagination), and whether there are more.

        Only what lies in the window of `created` and the cursor is looked at, and of that only `among`, if given.
        """
        self._arrange()
        first, last = self._window(created or {})
        if after is not None:
            last = min(last, self._place[after] - 1)
        if before is not None:
            first = max(first, self._place[before] + 1)
        span: Sequence[int] = range(first, last + 1)
        if among is not None:
            span = sorted(self._place[key] for key in among if first <= self._place[key] <= last)
        if before is None:
            span = span[::-1]
        found: list[Json] = []
        for place in span:
            thing = self.get(self._order[place])
            assert thing is not None
            if wanted is None or wanted(thing):
                if len(found) == limit:
                    return (found[::-1] if before is not None else found), True
                found.append(thing)
        return (found[::-1] if before is not None else found), False

    def _window(self, created: dict[str, int]) -> tuple[int, int]:
        first, last = 0, len(self._order) - 1
        if "gte" in created:
            first = max(first, bisect.bisect_left(self._created, created["gte"]))
        if "gt" in created:
            first = max(first, bisect.bisect_right(self._created, created["gt"]))
        if "lte" in created:
            last = min(last, bisect.bisect_right(self._created, created["lte"]) - 1)
        if "lt" in created:
            last = min(last, bisect.bisect_left(self._created, created["lt"]) - 1)
        return first, last
