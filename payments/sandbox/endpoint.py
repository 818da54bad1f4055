"""What an endpoint of Stripe is, and the two kinds that every object has: retrieve and list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .account import Account, Change
from .cards import Forced
from .errors import missing_object, refused_parameter
from .forms import Shape, created_range, integer, list_of, text

Json = dict[str, Any]

EXPAND = list_of(text())
RETRIEVE = Shape({"expand": EXPAND})
LIST = {
    "limit": integer(1, 100),
    "starting_after": text(),
    "ending_before": text(),
    "created": created_range,
    "expand": EXPAND,
}


@dataclass(frozen=True)
class Context:
    """What an endpoint may need beside its parameters."""

    change: Change
    secret: bool  # called with the secret key
    forced: Forced | None = None


Run = Callable[[Context, list[str], Json], Json]
Locked = Callable[[Account, list[str], Json], str | None]


@dataclass(frozen=True)
class Endpoint:
    method: str
    pattern: str
    noun: str
    shape: Shape
    run: Run
    is_list: bool = False
    publishable: bool = False  # may be called with the publishable key
    locks: Locked | None = None  # a mutation of the object that this names
    asks_bank: str | None = None  # "confirm" or "refund": the rules of that name may answer in the bank's place

    def match(self, path: str) -> list[str] | None:
        found = re.fullmatch(self.pattern.replace("{}", r"([A-Za-z0-9_]+)"), path)
        return list(found.groups()) if found else None


def itself(account: Account, ids: list[str], params: Json) -> str | None:
    """The object named in the path."""
    return ids[0]


def retrieving(noun: str, name: str) -> Run:
    def run(context: Context, ids: list[str], params: Json) -> Json:
        thing = context.change.get(noun, ids[0])
        if thing is None:
            raise missing_object(name, ids[0])
        return thing

    return run


Wanted = Callable[[Json], bool]


def listing(
    noun: str,
    url: str,
    *,
    wanted: Callable[[Account, Json], Wanted | None] = lambda account, params: None,
    among: Callable[[Account, Json], Iterable[str] | None] = lambda account, params: None,
) -> Run:
    """Stripe: pagination. `wanted` looks at every object; `among` names the few that can be meant at all."""

    def run(context: Context, ids: list[str], params: Json) -> Json:
        if "starting_after" in params and "ending_before" in params:
            raise refused_parameter(
                "You may only specify one of these parameters: starting_after, ending_before.", "starting_after"
            )
        account = context.change.account
        shelf = account.shelves[noun]
        for cursor in ("starting_after", "ending_before"):
            if cursor in params and params[cursor] not in shelf:
                raise missing_object(noun, params[cursor], cursor, status=400)
        found, more = shelf.page(
            limit=params.get("limit", 10),
            created=params.get("created"),
            after=params.get("starting_after"),
            before=params.get("ending_before"),
            wanted=wanted(account, params),
            among=among(account, params),
        )
        return {"object": "list", "data": found, "has_more": more, "url": url}

    return run
