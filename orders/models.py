"""Orders: what was bought, frozen at placement; its lines; the mails it owes, and the links in them."""

import datetime
from collections.abc import Iterable
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now, Upper
from django.urls import reverse
from django.utils import timezone

from shop.database_clock import DatabaseClock
from shop.ids import new_id, new_pay_key, new_reference
from shop.models import Cart, Product
from shop.money import CURRENCY_CHOICES, money_text


class Order(models.Model):
    """What a shopper ordered. Lines, prices and total never change after placement.

    `pay_key` is the idempotency key of the next press of Pay, the same in every tab; it rotates after a definite
    decline, release or cancel (RULES R45). While `closing_since` is set somebody is giving the order's payment up:
    nobody confirms any more (DESIGN section 5, closing).
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        PAID = "paid"
        FULFILLED = "fulfilled"
        CANCELED = "canceled"
        EXPIRED = "expired"
        REFUNDED = "refunded"

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    number = models.CharField(max_length=12, unique=True, default=new_reference, editable=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)

    # Who placed it. `principal` is "user:1" or "guest:abc" as it was at placement; `user` follows a guest's log-in.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="orders"
    )
    guest_id = models.CharField(max_length=32, blank=True)
    principal = models.CharField(max_length=64)
    idempotency_key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)

    cart = models.ForeignKey(Cart, null=True, on_delete=models.SET_NULL, related_name="orders")
    cart_version = models.CharField(max_length=32)

    email = models.EmailField()
    name = models.CharField(max_length=120)
    line1 = models.CharField(max_length=120)
    line2 = models.CharField(max_length=120, blank=True)
    city = models.CharField(max_length=80)
    region = models.CharField(max_length=80, blank=True)
    postal_code = models.CharField(max_length=20)
    country = models.CharField(max_length=2)

    total_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3, choices=CURRENCY_CHOICES)
    # Digest of sku and quantity of every line: "the same purchase again?" is one indexed read (FAILURES 10).
    lines_digest = models.CharField(max_length=64)

    pay_key = models.CharField(max_length=64, default=new_pay_key)
    placed_at = models.DateTimeField(db_default=DatabaseClock(), editable=False)
    expires_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True, blank=True)
    fulfilled_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    closing_since = models.DateTimeField(null=True, blank=True)
    closing_by = models.CharField(max_length=80, blank=True)
    closing_reason = models.CharField(max_length=40, blank=True)

    class Meta:
        ordering = ["-placed_at"]
        constraints = [
            models.UniqueConstraint(fields=["principal", "idempotency_key"], name="one_order_per_key"),
            models.UniqueConstraint(
                fields=["cart", "cart_version"],
                condition=~Q(status__in=["canceled", "expired"]),
                name="one_order_per_cart_version",
            ),
            models.CheckConstraint(condition=Q(total_minor__gt=0), name="order_total_is_positive"),
        ]
        indexes = [
            models.Index(fields=["user", "-placed_at"], name="order_by_user"),
            models.Index(fields=["guest_id", "-placed_at"], name="order_by_guest"),
            models.Index(Upper("email"), F("placed_at").desc(), name="order_by_email_any_case"),
            models.Index(fields=["-placed_at"], name="order_by_time"),
            models.Index(fields=["idempotency_key"], name="order_by_key"),
            models.Index(fields=["status", "-placed_at"], name="order_by_status"),
            models.Index(fields=["expires_at"], condition=Q(status="pending"), name="order_due_to_expire"),
            models.Index(fields=["closing_since"], condition=Q(closing_since__isnull=False), name="order_closing"),
        ]
        permissions = [
            ("cancel_order", "Can cancel an order that is not paid"),
            ("fulfil_order", "Can mark a paid order as fulfilled"),
            ("see_personal_data", "Can see shoppers' names, e-mails and addresses"),
        ]

    # Ends in which the order is given up: its cart version is free again.
    CLOSED = (Status.CANCELED, Status.EXPIRED)
    # Ends in which the money arrived.
    PAID = (Status.PAID, Status.FULFILLED, Status.REFUNDED)

    # Not a column: this request may see it by a link in a mail, and not as its owner (orders/ownership.py).
    by_link = False

    def __str__(self) -> str:
        return self.number

    def get_absolute_url(self) -> str:
        return reverse("order", args=[self.pk])

    @property
    def read_at(self) -> datetime.datetime:
        """When its row was locked, by the database's clock; only on rows from payments.row_lock."""
        return getattr(self, "read_at_now")  # type: ignore[no-any-return]  # noqa: B009 - an annotation

    @property
    def is_paid(self) -> bool:
        return self.status in self.PAID

    @property
    def is_closed(self) -> bool:
        return self.status in self.CLOSED

    @property
    def is_closing(self) -> bool:
        return self.closing_since is not None

    @property
    def total_text(self) -> str:
        return money_text(self.total_minor, self.currency)

    def hold_until(self, now: datetime.datetime) -> datetime.datetime:
        """Until when the goods are held if the clock starts again now: ORDER_HOLD, at most ORDER_HOLD_MOST in all."""
        return min(now + settings.ORDER_HOLD, self.placed_at + settings.ORDER_HOLD_MOST)


class OrderLine(models.Model):
    """One line of an order: the product's sku, name and price as they were at placement.

    `held` is how many pieces it holds now: all, or none. It changes only together with the product's stock or because
    they left the house, with a movement that says the same (orders/goods.py); a trigger refuses to commit it otherwise.
    """

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="order_lines")
    sku = models.CharField(max_length=32)
    name = models.CharField(max_length=120)
    quantity = models.PositiveIntegerField()
    price_minor = models.PositiveIntegerField()
    total_minor = models.PositiveBigIntegerField()
    held = models.PositiveIntegerField(db_default=0, default=0)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["order", "product"], name="one_order_line_per_product"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="order_quantity_is_positive"),
            models.CheckConstraint(condition=Q(held=0) | Q(held=F("quantity")), name="line_holds_all_or_nothing"),
        ]
        indexes = [models.Index(fields=["product"], condition=Q(held__gt=0), name="order_line_that_holds")]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.name}"


# A sending that takes longer has most likely died: EMAIL_TIMEOUT is 10 s a step.
MAIL_IN_DOUBT = datetime.timedelta(minutes=1)
# Then it is sent once more. No sender lives so long (CELERY_TASK_TIME_LIMIT is 45 s), staff have had time to look into
# the mail server's log first, and a shopper waits half an hour for a receipt and not for ever.
MAIL_DOUBT_LASTS = datetime.timedelta(minutes=30)


class MailQuerySet(models.QuerySet["Mail"]):
    """Times are compared with the database's clock: app servers whose clocks differ send no mail early or late."""

    def due(self) -> "MailQuerySet":
        return self.filter(state=Mail.State.DUE, due_at__lte=Now())

    def in_doubt(self) -> "MailQuerySet":
        """Being sent for longer than a server takes: they may have gone out, or not (RULES R98)."""
        return self.filter(state=Mail.State.SENDING, sending_at__lt=Now() - MAIL_IN_DOUBT)

    def doubt_over(self) -> "MailQuerySet":
        """In doubt for so long that they are sent once more, or left to staff."""
        return self.filter(state=Mail.State.SENDING, sending_at__lt=Now() - MAIL_DOUBT_LASTS)

    def bulk_create(self, objs: Iterable["Mail"], *args: Any, **options: Any) -> list["Mail"]:
        """How mails are owed: due after the same wait as by the app's clock, counted by the database's."""
        mails, here = list(objs), timezone.now()
        for mail in mails:
            if isinstance(mail.due_at, datetime.datetime):
                mail.due_at = Now() + (mail.due_at - here)
        return super().bulk_create(mails, *args, **options)


class Mail(models.Model):
    """One mail an order owes, written in the transaction of what it tells. At most one of a kind and subject per order.

    `subject` is the id of the refund that a refund mail tells of; every other kind tells of the order and has none.

    due -> sending (committed before the mail is written) -> sent. What certainly did not go out is due again later. A
    sending in doubt stays `sending`, and is sent once more after MAIL_DOUBT_LASTS with the same Message-ID (RULES R98).
    Refused or in doubt too often, it is `stuck`: only staff send it now (orders/mail_again.py). What is no longer so
    when it should be sent is `dropped` (orders/mail_truth.py).

    `sending_at` is the sending that runs, or that may have gone out; None once it is known that it did not.
    """

    class Kind(models.TextChoices):
        # The labels are what staff read everywhere, as in "the mail late money".
        RECEIPT = "receipt", "receipt"
        CANCELED = "canceled", "canceled"
        REFUND = "refund", "refund"
        LATE_MONEY = "late-money", "late money"
        FINISH_PAYING = "finish-paying", "finish paying"

    class State(models.TextChoices):
        DUE = "due"
        SENDING = "sending"
        SENT = "sent"
        DROPPED = "dropped"
        STUCK = "stuck"

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="mails")
    kind = models.CharField(max_length=16, choices=Kind)
    subject = models.CharField(max_length=32, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.DUE)
    due_at = models.DateTimeField()
    refusals = models.PositiveIntegerField(default=0)
    doubts = models.PositiveIntegerField(default=0, db_default=0)  # sendings of which nobody knows what came of them
    sending_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    last_refusal = models.CharField(max_length=200, blank=True)

    objects: ClassVar[models.Manager["Mail"]] = MailQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "kind", "subject"], name="one_mail_per_order_kind_and_subject")
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state="due"), name="mail_due"),
            models.Index(fields=["sending_at"], condition=Q(state="sending"), name="mail_in_doubt"),
            models.Index(fields=["due_at"], condition=Q(state="stuck"), name="mail_stuck"),
        ]
        permissions = [("send_mail_again", "Can send a mail of an order again")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.order_id}"


class OrderLinkQuerySet(models.QuerySet["OrderLink"]):
    def that_open(self, now: datetime.datetime) -> "OrderLinkQuerySet":
        """Neither expired nor revoked."""
        return self.filter(expires_at__gt=now, revoked_at=None)


class OrderLink(models.Model):
    """A link in a mail that opens one order on any device (SECURITY SE5). The token is in the mail and nowhere else:
    here is its hash."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="mail_links")
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    made_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["OrderLink"]] = OrderLinkQuerySet.as_manager()

    class Meta:
        ordering = ["-made_at"]
        indexes = [models.Index(fields=["expires_at"], name="order_link_expired")]
        permissions = [("revoke_links", "Can revoke the links of an order's mails")]

    def __str__(self) -> str:
        return f"link to {self.order_id}"


class WrongLink(models.Model):
    """One try with a link that opens nothing, counted for the session or the address it came from (a keyed hash)."""

    who = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["who", "at"], name="wrong_link_by_who"),
            models.Index(fields=["at"], name="wrong_link_by_time"),
        ]

    def __str__(self) -> str:
        return f"wrong link at {self.at:%H:%M}"
