"""Layer 3 of 5 - database: unique keys, one live attempt per order, fencing. (`row_lock.py` is its other half.)

Stops: two rows for one key, two live attempts of one order, two payments of one order, two settlements, a late writer.
Does not stop: a charge made outside our rows (the sweep finds it).

The row is the record: there is no table of idempotency keys and no outbox. A row whose work is not done is the queue.
Each constraint is named by what it guarantees, so that the database's error reads as a sentence.
"""

import datetime
import hashlib
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from orders.models import Order
from shop.database_clock import DatabaseClock
from shop.ids import new_id
from shop.money import CURRENCY_CHOICES, money_text


class Outcome(models.TextChoices):
    """What is known of an attempt. Empty while a press is being worked on and nothing is known yet."""

    SUCCEEDED = "succeeded"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    UNKNOWN = "unknown"
    DECLINED = "declined"
    FAILED = "failed"
    CANCELED = "canceled"
    RELEASED = "released"


# An attempt with one of these neither has charged nor ever will. Every other is live.
DEAD = (Outcome.DECLINED, Outcome.FAILED, Outcome.CANCELED, Outcome.RELEASED)
# Never changes again, and its stored answer is replayed. Released is not: its key may be claimed again.
FINAL = (Outcome.SUCCEEDED, Outcome.DECLINED, Outcome.FAILED, Outcome.CANCELED)


class Leased(models.Model):
    """Who may write this row, until when (database clock), and the fencing number that proves it (leases.py).

    `held_by` is an Asker, of the lease that runs or of the last one: for the story of a lease that is taken over,
    and for staff who ask why something cannot be done now.
    """

    lease_token = models.BigIntegerField(default=0)
    locked_until = models.DateTimeField(null=True, blank=True)
    held_by = models.CharField(max_length=10, blank=True, default="", db_default="")

    class Meta:
        abstract = True


class Payment(Leased):
    """What an order owes: one row, one PaymentIntent at Stripe. Amounts in minor units.

    Everything needed to repeat the exact create call (`idempotency_key`, `create_params`) is committed before the call.
    """

    class Phase(models.TextChoices):
        OPENING = "opening"
        OPEN = "open"
        CLOSING = "closing"
        SUCCEEDED = "succeeded"
        CANCELED = "canceled"
        ABANDONED = "abandoned"

    OVER = (Phase.CANCELED, Phase.ABANDONED)

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="payments")
    n = models.PositiveIntegerField()
    gateway = models.CharField(max_length=20, default="stripe")
    idempotency_key = models.CharField(max_length=255, unique=True)
    create_params = models.JSONField()
    first_sent_at = models.DateTimeField(null=True, blank=True)
    # When Stripe said that the create key was used by a call that our rows do not know (seek.py): it is never sent
    # again, and an intent that was found so is looked at before it is confirmed.
    key_spent_at = models.DateTimeField(null=True, blank=True)
    # Whose intent it is, such as acct_1Abc:test; empty where our key may not ask. Committed before the create call.
    account = models.CharField(max_length=50, blank=True, default="", db_default="")
    intent_id = models.CharField(max_length=80, null=True, blank=True)  # noqa: DJ001 - NULLs do not collide
    amount_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3, choices=CURRENCY_CHOICES)
    captured_minor = models.PositiveBigIntegerField(default=0)
    refunded_minor = models.PositiveBigIntegerField(default=0)
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.OPENING)
    cancels = models.PositiveIntegerField(default=0)  # definite answers to a cancel: the m of the next cancel key
    # The exact gateway key of the next cancel, committed before the call. It grows after each definite answer, for
    # Stripe replays a stored refusal.
    cancel_key = models.CharField(max_length=255)
    # The completer's ladder while it is closing, as an attempt's while it is undecided.
    looks = models.PositiveIntegerField(default=0)
    next_look_at = models.DateTimeField(null=True, blank=True)
    charge_id = models.CharField(max_length=80, null=True, blank=True)  # noqa: DJ001
    card_brand = models.CharField(max_length=20, blank=True)
    card_last4 = models.CharField(max_length=4, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    succeeded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["order", "n"], name="payments_of_an_order_are_numbered"),
            models.UniqueConstraint(
                fields=["order"],
                condition=~Q(phase__in=["canceled", "abandoned"]),
                name="one_payment_per_order",
            ),
            models.UniqueConstraint(fields=["gateway", "intent_id"], name="one_payment_per_intent"),
            models.UniqueConstraint(fields=["gateway", "charge_id"], name="one_payment_per_charge"),
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="payment_amount_is_positive"),
            models.CheckConstraint(
                condition=Q(refunded_minor__lte=F("captured_minor")), name="refunded_at_most_captured"
            ),
            models.CheckConstraint(condition=Q(captured_minor__lte=F("amount_minor")), name="captured_at_most_amount"),
        ]
        indexes = [
            models.Index(
                fields=["locked_until"], condition=Q(phase__in=["opening", "closing"]), name="payment_being_worked_on"
            ),
            models.Index(fields=["-created_at"], name="payment_by_time"),
            models.Index(
                fields=["card_last4", "-created_at"], condition=~Q(card_last4=""), name="payment_by_last_four"
            ),
            models.Index(fields=["amount_minor", "-created_at"], name="payment_by_amount"),
            models.Index(fields=["first_sent_at"], condition=Q(phase="succeeded"), name="succeeded_payment_by_time"),
            models.Index(
                fields=["key_spent_at"],
                condition=Q(phase="opening", key_spent_at__isnull=False),
                name="payment_to_be_sought",
            ),
            models.Index(
                fields=["account"],
                condition=Q(phase__in=["opening", "open", "closing"]),
                name="open_payment_by_account",
            ),
        ]
        permissions = [
            ("reconcile_payment", "Can ask Stripe now, and end what stays unknown"),
            ("export_payment", "Can export payments as CSV"),
        ]

    def __str__(self) -> str:
        return f"payment {self.n} of order {self.order_id}"

    @property
    def amount_text(self) -> str:
        return money_text(self.amount_minor, self.currency)

    @property
    def is_over(self) -> bool:
        return self.phase in self.OVER

    def asks_for_total_of(self, order: Order) -> bool:
        return (self.amount_minor, self.currency) == (order.total_minor, order.currency)

    @property
    def env(self) -> str:
        """The PAYMENT_ENV under which this row was made. Whatever is sent or read back about it is judged by this one,
        whatever the setting says today."""
        return self.idempotency_key.partition(":")[0]

    def next_cancel(self) -> dict[str, object]:
        """The columns that a definite answer to a cancel changes."""
        return {"cancels": self.cancels + 1, "cancel_key": cancel_key(self.env, self.pk, self.cancels + 1)}


def create_key(order_id: str, n: int) -> str:
    """Gateway key of creating payment n's intent: reproducible from the order, even after a lost claim (RULES R57)."""
    return f"{settings.PAYMENT_ENV}:create:{order_id}:{n}"


def cancel_key(env: str, payment_id: str, m: int) -> str:
    """Gateway key of the cancel of a payment's intent, after m definite answers to earlier ones."""
    return f"{env}:cancel:{payment_id}:{m}"


def confirm_key(env: str, attempt_id: str) -> str:
    """Gateway key of an attempt's only confirm."""
    return f"{env}:confirm:{attempt_id}"


def refund_key(env: str, refund_id: str, m: int) -> str:
    """Gateway key of a refund, after m stored errors: Stripe replays a stored 500 as a 500."""
    return f"{env}:refund:{refund_id}:{m}"


def payment_id(order_id: str, n: int) -> str:
    """The id of an order's payment n: derived, for the create call names it in its metadata. A payment that was lost
    with its database would else be created anew with other parameters, and Stripe would refuse its key (C22)."""
    return hashlib.sha256(f"payment:{order_id}:{n}".encode()).hexdigest()[:32]


def attempt_id(order_id: str, number: int) -> str:
    """The id of an order's attempt: derived, so that a claim lost with its database is made again under the same
    gateway key (crash point C22). As hard to guess as the order's id."""
    return hashlib.sha256(f"attempt:{order_id}:{number}".encode()).hexdigest()[:32]


def refund_id(payment_id: str, key: str) -> str:
    """The id of a payment's refund under a client's key: derived by a plain digest, so that a refund which was lost
    with its database is made again under the same gateway key, and found at Stripe by its metadata (C22)."""
    return hashlib.sha256(f"refund:{payment_id}:{key}".encode()).hexdigest()[:32]


class AttemptQuerySet(models.QuerySet["Attempt"]):
    def live(self) -> "AttemptQuerySet":
        """May still charge, or has charged."""
        return self.exclude(outcome__in=DEAD)

    def undecided(self) -> "AttemptQuerySet":
        """Live, and not paid: somebody must still find out."""
        return self.exclude(outcome__in=(*DEAD, Outcome.SUCCEEDED))

    def with_age(self) -> "AttemptQuerySet":
        """For Attempt.age, by the database's clock."""
        age = models.ExpressionWrapper(DatabaseClock() - F("claimed_at"), output_field=models.DurationField())
        return self.annotate(age_now=age)

    def with_lease_state(self) -> "AttemptQuerySet":
        """For Attempt.lease_runs and Attempt.age, judged by the database's clock."""
        return self.with_age().annotate(
            lease_runs_now=models.ExpressionWrapper(
                Q(locked_until__isnull=False, locked_until__gte=DatabaseClock()), output_field=models.BooleanField()
            )
        )


class Attempt(Leased):
    """One press of Pay: one idempotency key, one confirm of the payment's intent.

    phase started -> confirming -> finished, forward only; `confirming` is committed before the confirm call, together
    with everything needed to send the exact same call again. The one way back is a *released* attempt, of which
    nothing was sent: the same key with the same body may claim it again.
    """

    class Phase(models.TextChoices):
        STARTED = "started"
        CONFIRMING = "confirming"
        FINISHED = "finished"

    class Origin(models.TextChoices):
        SHOPPER = "shopper"
        GATEWAY = "gateway"  # money that Stripe's book shows and no press of ours explains

    id = models.CharField(primary_key=True, max_length=32, editable=False)
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="attempts")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="attempts")
    number = models.PositiveIntegerField()
    origin = models.CharField(max_length=8, choices=Origin, default=Origin.SHOPPER)
    idempotency_key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    fingerprint_version = models.PositiveSmallIntegerField(default=1)
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.STARTED)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True)
    reason = models.CharField(max_length=40, blank=True)  # ours, for shoppers
    decline_code = models.CharField(max_length=60, blank=True)  # Stripe's, for staff
    confirm_params = models.JSONField(default=dict)
    # The exact gateway key of this attempt's only confirm, committed before the call; empty where it was no press.
    confirm_key = models.CharField(max_length=255, blank=True)
    latest_charge_before = models.CharField(max_length=80, blank=True)
    charge_id = models.CharField(max_length=80, null=True, blank=True)  # noqa: DJ001
    was_pending = models.BooleanField(default=False)  # once seen in requires_action or processing: look, never confirm
    stored_5xx = models.BooleanField(default=False)  # Stripe answered 5xx under our key: a replay can only repeat it
    answer_status = models.PositiveSmallIntegerField(null=True, blank=True)
    answer_body = models.BinaryField(null=True, blank=True)
    pressed_at = models.DateTimeField(auto_now_add=True)
    claimed_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    looks = models.PositiveIntegerField(default=0)
    looked_at = models.DateTimeField(null=True, blank=True)
    next_look_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Attempt"]] = AttemptQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["order", "idempotency_key"], name="one_attempt_per_key"),
            models.UniqueConstraint(fields=["order", "number"], name="attempts_of_an_order_are_numbered"),
            models.UniqueConstraint(
                fields=["order"],
                condition=~Q(outcome__in=["declined", "failed", "canceled", "released"]),
                name="one_live_attempt_per_order",
            ),
            models.UniqueConstraint(fields=["charge_id"], name="one_attempt_per_charge"),
            models.UniqueConstraint(
                fields=["confirm_key"], condition=~Q(confirm_key=""), name="one_attempt_per_confirm_key"
            ),
            models.CheckConstraint(
                condition=Q(phase="finished", outcome__in=["succeeded", "declined", "failed", "canceled", "released"])
                | (~Q(phase="finished") & Q(outcome__in=["", "requires_action", "processing", "unknown"])),
                name="finished_means_an_end_is_known",
            ),
        ]
        indexes = [
            models.Index(
                Coalesce("next_look_at", "locked_until"), condition=~Q(phase="finished"), name="attempt_due_for_a_look"
            ),
            models.Index(fields=["finished_at"], condition=Q(answer_status__isnull=False), name="attempt_answer_kept"),
            models.Index(fields=["idempotency_key"], name="attempt_by_key"),
            models.Index(fields=["pressed_at"], name="attempt_by_time"),
            models.Index(fields=["claimed_at"], condition=~Q(phase="finished"), name="undecided_attempt_by_age"),
        ]

    def __str__(self) -> str:
        return f"press {self.number} of order {self.order_id}"

    @property
    def payment_status(self) -> str:
        """The word of the API: the outcome, or the phase while nothing is known yet (DESIGN section 8)."""
        return self.outcome or self.phase

    @property
    def lease_runs(self) -> bool:
        """Whether somebody held it when it was read; only on rows from with_lease_state()."""
        return bool(getattr(self, "lease_runs_now"))  # noqa: B009 - an annotation

    @property
    def age(self) -> datetime.timedelta:
        """How long ago it was claimed when it was read; only on rows from with_age()."""
        age: datetime.timedelta = getattr(self, "age_now")  # noqa: B009 - an annotation
        return age

    @property
    def is_live(self) -> bool:
        return self.outcome not in DEAD

    @property
    def is_final(self) -> bool:
        return self.outcome in FINAL


class Charge(models.Model):
    """Money that Stripe took in one piece: what a refund gives back, and never more than that. Minor units.

    One charge is credited to an order: the one that its succeeded payment names (`Payment.charge_id`), and only refunds
    of that one move the order. Any other is money to give back: a second charge, or another amount than the total.
    """

    id = models.CharField(primary_key=True, max_length=80)  # Stripe's
    gateway = models.CharField(max_length=20, default="stripe")
    intent_id = models.CharField(max_length=80, blank=True)
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="charges")
    captured_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)
    card_brand = models.CharField(max_length=20, blank=True)
    card_last4 = models.CharField(max_length=4, blank=True)
    noticed_at = models.DateTimeField(db_default=DatabaseClock())

    class Meta:
        ordering = ["noticed_at"]
        constraints = [
            models.CheckConstraint(condition=Q(captured_minor__gt=0), name="charge_amount_is_positive"),
        ]

    def __str__(self) -> str:
        return f"charge {self.pk} of {money_text(self.captured_minor, self.currency)}"

    @property
    def left_minor(self) -> int:
        """What no refund of ours or of Stripe's dashboard has given back, or may have. Never below zero."""
        return max(0, self.captured_minor - self.refunds.perhaps_given().total_minor())

    @property
    def given_minor(self) -> int:
        """What is known to have gone back."""
        return int(self.refunds.filter(outcome=Refund.Outcome.SUCCEEDED).total_minor())


# Begins the key of a refund of late money, which nobody asked for (outcome.py).
LATE_REFUND = "late:"


class RefundQuerySet(models.QuerySet["Refund"]):
    def perhaps_given(self) -> "RefundQuerySet":
        """Those that have gone back, or may have: all but what is known not to have (one that is unknown may)."""
        return self.exclude(outcome__in=NOT_GIVEN)

    def total_minor(self) -> int:
        total: int = self.aggregate(total=Coalesce(models.Sum("amount_minor"), 0))["total"]
        return total


class Refund(Leased):
    """Money going back from one charge: committed before the call, with the same phases and care as an attempt.

    Everything that its call needs is in the row before it is sent: `gateway_key`, `params`, and `sent_at` by the
    database's clock. `payment` is the one under whose lock it moves; `charge` says whose money it is.
    """

    class Phase(models.TextChoices):
        STARTED = "started"
        CONFIRMING = "confirming"
        FINISHED = "finished"

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded"
        PENDING = "pending"
        UNKNOWN = "unknown"
        FAILED = "failed"
        CANCELED = "canceled"

    class Reason(models.TextChoices):
        DUPLICATE = "duplicate"
        FRAUDULENT = "fraudulent"
        REQUESTED_BY_CUSTOMER = "requested_by_customer"

    id = models.CharField(primary_key=True, max_length=32, editable=False)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    charge = models.ForeignKey(Charge, on_delete=models.PROTECT, related_name="refunds")
    idempotency_key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    amount_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3, choices=CURRENCY_CHOICES)
    reason = models.CharField(max_length=24, choices=Reason)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.STARTED)
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)
    refund_id = models.CharField(max_length=80, null=True, blank=True)  # noqa: DJ001
    gateway_key = models.CharField(max_length=255, blank=True)  # of its call; empty where Stripe's dashboard made it
    params = models.JSONField(default=dict, blank=True)  # of its call
    stored_errors = models.PositiveIntegerField(default=0)  # kept by Stripe under earlier keys: the m of `gateway_key`
    sent_at = models.DateTimeField(null=True, blank=True)  # first under `gateway_key`; null: it never was
    looks = models.PositiveIntegerField(default=0)
    next_look_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Refund"]] = RefundQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["payment", "idempotency_key"], name="one_refund_per_key"),
            models.UniqueConstraint(fields=["refund_id"], name="one_refund_per_gateway_refund"),
            models.UniqueConstraint(
                fields=["gateway_key"], condition=~Q(gateway_key=""), name="one_refund_per_gateway_key"
            ),
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="refund_amount_is_positive"),
        ]
        indexes = [
            models.Index(fields=["created_at"], condition=~Q(phase="finished"), name="refund_due_for_a_look"),
            models.Index(
                fields=["finished_at"], condition=Q(outcome__in=["failed", "canceled"]), name="refund_not_given_by_time"
            ),
            models.Index(fields=["idempotency_key"], name="refund_by_key"),
        ]
        permissions = [("refund_payment", "Can give money back")]

    def __str__(self) -> str:
        return f"refund of {self.amount_text}"

    @property
    def amount_text(self) -> str:
        return money_text(self.amount_minor, self.currency)

    @property
    def by_itself(self) -> bool:
        """Late money goes back without anybody's asking."""
        return self.idempotency_key.startswith(LATE_REFUND)

    @property
    def why_text(self) -> str:
        return "by itself, for the money came late" if self.by_itself else self.reason.replace("_", " ")

    @property
    def is_of_credited_charge(self) -> bool:
        """Whether it gives back what pays the order; else a second charge, or another amount than the total."""
        return self.charge_id == self.payment.charge_id


# Of a refund with one of these nothing goes back: its amount is free for another one.
NOT_GIVEN = (Refund.Outcome.FAILED, Refund.Outcome.CANCELED)


def new_proposal_key() -> str:
    return f"proposal:{new_id()}"


class RefundProposal(models.Model):
    """A refund above the threshold: carried out only once a second person has agreed (SECURITY SE49)."""

    class Decision(models.TextChoices):
        APPROVED = "approved"
        REFUSED = "refused"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refund_proposals")
    amount_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3, choices=CURRENCY_CHOICES)
    reason = models.CharField(max_length=24, choices=Refund.Reason)
    note = models.CharField(max_length=400)
    # Of the one refund that its approval carries out. Not the row's number: a database that was restored gives out the
    # same numbers again, to other proposals.
    refund_key = models.CharField(max_length=64, unique=True, default=new_proposal_key, editable=False)
    proposed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField(auto_now_add=True)
    decision = models.CharField(max_length=8, choices=Decision, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-proposed_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["payment"], condition=Q(decision=""), name="one_open_refund_proposal_per_payment"
            ),
            models.CheckConstraint(
                condition=~Q(decision="approved") | (Q(decided_by__isnull=False) & ~Q(decided_by=F("proposed_by"))),
                name="a_second_person_approves_a_refund",
            ),
        ]

    def __str__(self) -> str:
        return f"proposal to refund {money_text(self.amount_minor, self.currency)}"

    @property
    def decision_text(self) -> str:
        """Who refuses his own proposal withdraws it."""
        return "withdrawn" if self.decided_by_id == self.proposed_by_id else self.decision


# Won: the money is back. A warning is only a question of the bank's: no money has moved, and a refund answers it best.
NOT_WITHHELD = ("won", "warning_needs_response", "warning_under_review", "warning_closed")
DECIDED = ("won", "lost", "prevented", "warning_closed")
TO_ANSWER = ("needs_response", "warning_needs_response")


class DisputeQuerySet(models.QuerySet["Dispute"]):
    def withholding(self) -> "DisputeQuerySet":
        """The bank has this money, or keeps it: it cannot be refunded as well."""
        return self.exclude(status__in=NOT_WITHHELD)

    def undecided(self) -> "DisputeQuerySet":
        return self.exclude(status__in=DECIDED)

    def to_answer(self) -> "DisputeQuerySet":
        """The bank waits for what we say to it."""
        return self.filter(status__in=TO_ANSWER)


_STATUS_WORDS = {
    "needs_response": "the bank waits for our answer",
    "warning_needs_response": "the bank only asks so far, and waits for our answer",
    "under_review": "answered: the bank decides",
    "warning_under_review": "answered: the bank looks at it",
    "won": "decided for us",
    "lost": "decided for the shopper",
    "prevented": "given back before it began",
    "warning_closed": "closed, and nothing was taken",
}
_REASON_WORDS = {
    "fraudulent": "the shopper says that they did not pay it",
    "unrecognized": "the shopper does not recognise it",
    "duplicate": "the shopper says that they were charged twice",
    "product_not_received": "the shopper says that nothing came",
    "product_unacceptable": "the shopper says that the goods are not as described",
    "credit_not_processed": "the shopper waits for a refund",
    "subscription_canceled": "the shopper says that they had canceled",
    "general": "no reason named",
}


class Dispute(models.Model):
    """A shopper's bank takes money back, as Stripe last told of it. `status` is Stripe's word.

    While it is open or lost its amount is not refundable, for the seller would lose it twice (FAILURES 109).
    """

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="disputes")
    dispute_id = models.CharField(max_length=80)
    amount_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=24)
    reason = models.CharField(max_length=40, blank=True)
    opened_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)  # evidence is taken until then; null where Stripe named no day
    noticed_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Dispute"]] = DisputeQuerySet.as_manager()

    class Meta:
        ordering = ["opened_at"]
        constraints = [models.UniqueConstraint(fields=["dispute_id"], name="one_row_per_dispute")]

    def __str__(self) -> str:
        return f"dispute of {money_text(self.amount_minor, self.currency)}: {self.status_text}"

    @property
    def status_text(self) -> str:
        return _STATUS_WORDS.get(self.status, self.status.replace("_", " "))

    @property
    def reason_text(self) -> str:
        return _REASON_WORDS.get(self.reason, self.reason.replace("_", " "))

    @property
    def act_text(self) -> str:
        """What somebody must do about it; empty where nobody must."""
        if self.status not in TO_ANSWER:
            return ""
        if self.due_at is None:
            return "Act: answer in Stripe (finance); its last day stands there"
        return f"Act: answer in Stripe by {self.due_at.astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC (finance)"


class Asker(models.TextChoices):
    """Who caused something to be found out or done."""

    SHOPPER = "shopper"
    WEBHOOK = "webhook"
    COMPLETER = "completer"
    SWEEP = "sweep"
    STAFF = "staff"


class PaymentEvent(models.Model):
    """Append-only story of an order's money: what moved, from, to, when, who asked, and every call to Stripe.

    A trigger refuses UPDATE and DELETE, through the ORM and through plain SQL.
    """

    # Kinds that are read by name: an order that was given up, and its money that came all the same.
    ORDER_ENDED = "order ended"
    LATE_MONEY = "late money"
    CREDITED = "credited"  # another charge pays the order from now on

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="payment_events")
    payment = models.ForeignKey(Payment, null=True, on_delete=models.PROTECT, related_name="events")
    attempt = models.ForeignKey(Attempt, null=True, on_delete=models.PROTECT, related_name="events")
    at = models.DateTimeField(db_default=DatabaseClock())
    kind = models.CharField(max_length=24)  # claimed, call:<operation>, taken over, settled, closing, refund, ...
    from_state = models.CharField(max_length=24, blank=True)
    to_state = models.CharField(max_length=24, blank=True)
    asked_by = models.CharField(max_length=10, choices=Asker)
    actor = models.CharField(max_length=80, blank=True)
    gateway_key = models.CharField(max_length=255, blank=True)
    request_id = models.CharField(max_length=80, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    milliseconds = models.PositiveIntegerField(null=True, blank=True)
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["at"], condition=Q(kind="settled", to_state="unknown"), name="event_became_unknown")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.from_state}->{self.to_state}" if self.to_state else self.kind


class WebhookEvent(models.Model):
    """One event from Stripe: stored before it is answered, worked on after, replayable. Secrets are not kept."""

    class State(models.TextChoices):
        STORED = "stored"
        DONE = "done"
        FOREIGN = "foreign"  # another environment, account or mode: not ours, ignored

    gateway = models.CharField(max_length=20, default="stripe")
    event_id = models.CharField(max_length=80)
    type = models.CharField(max_length=80)
    livemode = models.BooleanField(default=False)
    object_id = models.CharField(max_length=80, blank=True)
    intent_id = models.CharField(max_length=80, blank=True)
    metadata = models.JSONField(default=dict)
    request_key = models.CharField(max_length=255, blank=True)
    created_at_gateway = models.DateTimeField()
    received_at = models.DateTimeField(auto_now_add=True)
    state = models.CharField(max_length=8, choices=State, default=State.STORED)
    tries = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["-received_at"]
        constraints = [models.UniqueConstraint(fields=["gateway", "event_id"], name="one_row_per_webhook_event")]
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(state="stored"), name="webhook_event_due"),
            models.Index(fields=["received_at"], condition=Q(state="stored"), name="webhook_event_by_age"),
            models.Index(fields=["done_at"], condition=~Q(state="stored"), name="webhook_event_done"),
            models.Index(fields=["intent_id"], name="webhook_event_by_intent"),
        ]
        permissions = [("replay_webhookevent", "Can work on a stored webhook event again")]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class Break(models.Model):
    """A difference that staff see: between Stripe's book and our rows, or between a product's stock and its ledger, and
    then without order, payment and amount. Open until a person or a rule resolves it."""

    class Kind(models.TextChoices):
        # The labels are what staff read everywhere: lists, alarms, stories and the runbook's titles.
        MISSING_LOCAL = "missing_local", "Stripe has money that our rows do not explain"
        MISSING_GATEWAY = "missing_gateway", "A payment of ours is not in Stripe's book"
        AMOUNT = "amount", "Stripe has another amount than we have"
        STATUS = "status", "Stripe and our rows disagree about a payment"
        DOUBLE_CHARGE = "double_charge", "An order was charged twice"
        ORPHAN_REFUND = "orphan_refund", "Money went back that our rows do not know"
        STOCK = "stock", "The stock of a product does not add up"

    kind = models.CharField(max_length=16, choices=Kind)
    subject = models.CharField(max_length=80)  # what it is about: an intent, charge, refund or dispute; an order; a sku
    order = models.ForeignKey(Order, null=True, blank=True, on_delete=models.PROTECT, related_name="breaks")
    payment = models.ForeignKey(Payment, null=True, blank=True, on_delete=models.PROTECT, related_name="breaks")
    # The money to give back, if that is what it is about: a second charge, or another amount than the order's.
    charge = models.ForeignKey(Charge, null=True, blank=True, on_delete=models.PROTECT, related_name="breaks")
    amount_minor = models.BigIntegerField(null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    evidence = models.JSONField(default=dict)
    found_at = models.DateTimeField(auto_now_add=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=80, blank=True)
    note = models.CharField(max_length=400, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )  # who looks into it
    accepted = models.BooleanField(default=False)  # resolved by a person: the same finding does not open it again

    class Meta:
        ordering = ["-found_at"]
        permissions = [("resolve_break", "Can take a break on, and resolve it")]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=Q(resolved_at__isnull=True), name="one_open_break_per_finding"
            )
        ]
        indexes = [
            models.Index(fields=["found_at"], condition=Q(resolved_at__isnull=True), name="open_break_by_age"),
            models.Index(fields=["subject"], name="break_by_subject"),
            # The intent, charge or refund that only its evidence names.
            GinIndex(fields=["evidence"], opclasses=["jsonb_path_ops"], name="break_by_evidence"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.subject}"

    @property
    def amount_text(self) -> str:
        """Empty where Stripe's book has not said how much."""
        return "" if self.amount_minor is None or not self.currency else money_text(self.amount_minor, self.currency)

    @property
    def found_by(self) -> str:
        """The rule that found it; empty where none says when it is gone (breaks.py)."""
        return str(self.evidence.get("found_by", ""))

    @property
    def is_about_a_key(self) -> bool:
        """About a create key that Stripe knows, of a payment whose intent nobody finds (seek.py)."""
        return self.kind == self.Kind.MISSING_LOCAL and self.found_by == "create"

    @property
    def proposal(self) -> str:
        return str(self.evidence.get("proposal", ""))


class Heartbeat(models.Model):
    """When a repeated piece of repair last completed, and how far a long one has come.

    The migration makes the rows, so that an install whose worker never ran turns red as well, but not at once.
    """

    class Name(models.TextChoices):
        COMPLETER = "completer"
        EVENTS = "events"  # the reader of Stripe's events; its cursor is Stripe's newest event that was stored
        SWEEP = "sweep"  # the last two hours, every ten minutes
        LONG_SWEEP = "long_sweep"  # the last thirty days, daily

    name = models.CharField(primary_key=True, max_length=12, choices=Name)
    beat_at = models.DateTimeField()
    has_beaten = models.BooleanField(
        db_default=False
    )  # false: `beat_at` is the migration's, and no round completed yet
    began_at = models.DateTimeField(null=True, blank=True)  # of the round under way
    cursor = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.beat_at:%Y-%m-%d %H:%M:%S}"


class KeyAccount(models.Model):
    """Which of Stripe's accounts a secret key of ours belongs to, by a digest of the key (accounts.py)."""

    key_digest = models.CharField(primary_key=True, max_length=64)
    account_id = models.CharField(max_length=40)
    livemode = models.BooleanField()
    seen_at = models.DateTimeField()  # when Stripe last said so

    def __str__(self) -> str:
        return f"{self.account_id}:{'live' if self.livemode else 'test'}"


class DuplicatesStopped(models.Model):
    """How many requests about an order a layer has stopped on one day. Counted in the process and written in batches
    (RULES R19), so that a duplicate itself costs no write; a process that is killed loses its last seconds of them."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="duplicates_stopped")
    layer = models.PositiveSmallIntegerField()  # 2 key, 3 database, 4 Redis lock, 5 gateway
    day = models.DateField()
    count = models.PositiveIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    last_key = models.CharField(max_length=255, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "layer", "day"], name="one_count_per_order_layer_and_day")
        ]
        indexes = [models.Index(fields=["day", "layer"], name="duplicates_by_day")]

    def __str__(self) -> str:
        return f"{self.count} stopped by layer {self.layer}"
