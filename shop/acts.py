"""Acts of staff: who did what, when, from where, and the rows before and after (SECURITY SE50).

The audit row is written in the very transaction that carries the act out: the core function that holds the rows locked
runs its block inside `witnessed(act)`. So there is no act without its row, and no row of an act that was rolled back.
The form's one-time key is unique: double click, reload and Back find the act done (RULES R96).
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.contrib.auth.models import AnonymousUser, User
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from shop.addresses import address_of
from shop.models import StaffAct

Snapshot = dict[str, object]


class DoneAlready(Exception):
    """This very form was carried out before: show what came of it, and do nothing."""


class StaleForm(Exception):
    """What the form was about has changed since it was shown: nothing was done."""


@dataclass(frozen=True)
class Who:
    """A member of staff, and where the request came from."""

    user: User
    address: str | None
    agent: str

    @property
    def name(self) -> str:
        return str(self.user)[:80]


def who_asks(request: HttpRequest) -> Who:
    """Raises:
    ValueError: nobody is logged in.
    """
    if isinstance(request.user, AnonymousUser):
        raise ValueError("Bug! An act of staff needs somebody who is logged in.")
    return Who(request.user, address_of(request) or None, request.headers.get("User-Agent", "")[:200])


@dataclass
class Act:
    """One act, about to be done.

    Attributes:
        name: what is done, such as "refund" or "correct stock".
        subject: what it is done to, such as "payment 3f…" or "break 12".
        snapshot: reads the rows that it is about, as they are now: called before and after, inside the transaction.
        form_key: the one-time key of the form; empty for an act that is idempotent by itself and may be repeated.
        expected: version of the snapshot that the form was made from; empty to act on whatever is there.
        repeatable: harmless to do again, such as a question to Stripe: the form that comes again is not refused, and is
            still one row.
    """

    name: str
    who: Who
    subject: str
    snapshot: Callable[[], Snapshot]
    order_id: str = ""
    form_key: str = ""
    expected: str = ""
    note: str = ""
    repeatable: bool = False
    before: Snapshot = field(default_factory=dict)

    def begin(self) -> None:
        """Raises:
        DoneAlready: by this form. StaleForm: the rows are no longer what the form showed.
        """
        if self.is_done() and not self.repeatable:
            raise DoneAlready(self.form_key)
        self.before = self.snapshot()
        if self.expected and version_of(self.before) != self.expected:
            raise StaleForm(self.subject)

    def write(self) -> None:
        """The audit row. Two posts of one form at one moment, about whatever rows: the unique index rolls the later one
        back. Nothing is done without a row of its own."""
        after = self.snapshot()
        if self.repeatable and (after == self.before or self.is_done()):
            return  # a question that has moved nothing so far: record() writes it down in the end
        self._insert(after)

    def _insert(self, after: Snapshot) -> None:
        try:
            with transaction.atomic():  # a savepoint: what may be repeated goes on where its row is there already
                StaffAct.objects.create(
                    actor_id=self.who.user.pk,
                    actor_name=self.who.name,
                    act=self.name,
                    subject=self.subject[:80],
                    order_id=self.order_id,
                    form_key=self._free_key(),
                    address=self.who.address,
                    agent=self.who.agent,
                    before=self.before,
                    after=after,
                    note=self.note[:400],
                )
        except IntegrityError as error:
            if "one_act_per_form" not in str(error):
                raise
            if not self.repeatable:
                raise DoneAlready(self.form_key) from error

    def is_done(self) -> bool:
        """By this form. What may be repeated is done only by itself: the key of another act hides no question."""
        done = StaffAct.objects.filter(form_key=self.form_key)
        if self.repeatable:
            done = done.filter(act=self.name, subject=self.subject[:80])
        return bool(self.form_key) and done.exists()

    def _free_key(self) -> str | None:
        """The form's key; none for a question under the key of another act, which is written down all the same."""
        taken = StaffAct.objects.filter(form_key=self.form_key).exclude(act=self.name, subject=self.subject[:80])
        if self.repeatable and taken.exists():
            return None
        return self.form_key or None

    def record(self) -> None:
        """Write down an act that has changed no row of ours, such as a question to Stripe that told nothing new."""
        if not self.is_done():
            with transaction.atomic(durable=True):
                self.begin()
                self._insert(self.before)


@contextmanager
def witnessed(act: Act | None) -> Iterator[None]:
    """Around what a transaction does, with its rows locked already. Without an act it is nobody of staff."""
    if act is None:
        yield
        return
    act.begin()
    yield
    act.write()


def version_of(snapshot: Snapshot) -> str:
    """Digest of a snapshot: a form carries it, so that it acts on what its reader saw (optimistic version check)."""
    return hashlib.sha256(json.dumps(snapshot, sort_keys=True, default=str).encode()).hexdigest()[:32]
