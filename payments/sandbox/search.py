"""Search (Stripe: search): a small query language over what freshness.py lets it see.

    status:'succeeded' AND metadata['order']:'17'     -currency:'eur' OR amount>1000     email~'example'

AND and OR are not mixed; `:` is equal, `~` contains, `-` negates, and numbers may be compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .account import CUSTOMER, INTENT, Account
from .endpoint import EXPAND, Context, Run
from .errors import invalid_request
from .forms import Shape, integer, text

Json = dict[str, Any]

SEARCH = Shape({"query": text(), "limit": integer(1, 100), "page": text(), "expand": EXPAND}, required=("query",))

_FIELDS = {
    INTENT: ("amount", "created", "currency", "customer", "metadata", "status"),
    CUSTOMER: ("created", "email", "metadata", "name", "phone"),
}
_NUMBERS = ("amount", "created")
_CLAUSE = re.compile(
    r"""\s*(?P<joint>AND|OR)?\s*
    (?P<negated>-)?(?P<field>[a-z_]+)(?:\[(?P<quote>['"])(?P<key>[^'"]*)(?P=quote)\])?
    (?P<operator>>=|<=|[:~<>])
    (?:'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>[\w.-]+))\s*""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Clause:
    field: str
    key: str | None  # of metadata
    operator: str
    value: str | None  # None: null
    negated: bool

    def matches(self, thing: Json) -> bool:
        found = thing["metadata"].get(self.key) if self.field == "metadata" else thing[self.field]
        return self._compares(found) != self.negated

    def _compares(self, found: Any) -> bool:
        if self.value is None or found is None:
            return self.value is None and found is None
        if self.field in _NUMBERS:
            number = int(self.value)
            return bool(
                {
                    ":": found == number,
                    ">": found > number,
                    "<": found < number,
                    ">=": found >= number,
                    "<=": found <= number,
                }[self.operator]
            )
        if self.operator == "~":
            return self.value.lower() in str(found).lower()
        return self.value.lower() == str(found).lower()


def parse(query: str, noun: str) -> tuple[list[Clause], bool]:
    """The clauses, and whether all of them must match."""
    clauses: list[Clause] = []
    joints: set[str] = set()
    position = 0
    while position < len(query.rstrip()):
        match = _CLAUSE.match(query, position)
        if match is None or (bool(match["joint"]) and not clauses):
            raise _unreadable()
        if clauses:
            joints.add(match["joint"] or "AND")
        clauses.append(_clause(match, noun))
        position = match.end()
    if not clauses or len(joints) > 1:
        raise _unreadable()
    return clauses, "OR" not in joints


def _clause(match: re.Match[str], noun: str) -> Clause:
    field, operator = match["field"], match["operator"]
    if field not in _FIELDS[noun]:
        raise invalid_request(f"Field `{field}` is an unsupported search field for resource `{noun}s`.", param="query")
    value = match["single"] if match["single"] is not None else match["double"]
    if value is not None:
        value = re.sub(r"\\(.)", r"\1", value)
    elif match["bare"] not in ("null", "NULL"):
        value = match["bare"]
    wrong_kind = field in _NUMBERS and (operator == "~" or not re.fullmatch(r"-?\d+", value or ""))
    if (
        (field == "metadata") != (match["key"] is not None)
        or wrong_kind
        or (field not in _NUMBERS and operator not in ":~")
    ):
        raise _unreadable()
    return Clause(field, match["key"], operator, value, bool(match["negated"]))


def _unreadable() -> Exception:
    return invalid_request(
        'We were unable to parse your search query. Try using the format `metadata["key"]:"value"` to query for '
        'metadata or key:"value" to query for other fields.',
        param="query",
    )


def searching(noun: str, url: str) -> Run:
    """Newest first. `page` is the id of the last one seen."""

    def run(context: Context, ids: list[str], params: Json) -> Json:
        account = context.change.account
        clauses, every = parse(params["query"], noun)
        combine = all if every else any
        unseen = account.freshness.unseen(noun)
        limit = params.get("limit", 10)
        found: list[Json] = []
        for key in account.shelves[noun].newest_first(params.get("page"), _among(account, noun, clauses, every)):
            before = unseen.get(key) if key in unseen else account.shelves[noun].text(key)
            thing = json.loads(before) if before is not None else None
            if thing is not None and combine(clause.matches(thing) for clause in clauses):
                if len(found) == limit:
                    return _result(url, found, found[-1]["id"])
                found.append(thing)
        return _result(url, found, None)

    return run


def _among(account: Account, noun: str, clauses: list[Clause], every: bool) -> Iterable[str] | None:
    """Intents of one order are few: do not walk through all of them."""
    for clause in clauses:
        right = clause.operator == ":" and not clause.negated and clause.key == "order" and clause.value is not None
        if noun == INTENT and every and right:
            return account.intents_of.get(str(clause.value), ())
    return None


def _result(url: str, found: list[Json], last: str | None) -> Json:
    return {"object": "search_result", "data": found, "has_more": last is not None, "next_page": last, "url": url}
