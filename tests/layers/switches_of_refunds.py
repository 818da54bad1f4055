"""Switches that take a layer out of a refund, for tests alone: the shop knows nothing of them.

What the layers of a refund are: 1 the desk's form, whose buttons are disabled and whose key is used once; 2 the key,
and the row that is looked up by it; 3 the row lock, what is left by our rows, the trigger, and unique keys and ids;
5 Stripe's memory of keys, and its list that is read before anything is sent. A refund takes no Redis lock: there is no
layer 4. Stripe's own cap, the charge, cannot be switched off: so what shall go back too often goes back in small parts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from payments import charges, refund, views
from payments.backoffice.actions import page, refunds
from payments.gateways import base
from payments.gateways.base import Call, SeenRefund
from payments.gateways.stripe import StripeGateway
from payments.gateways.transport import Deadline
from payments.leases import Lease
from payments.models import Refund
from shop.acts import Act
from shop.ids import new_id
from tests.layers import switches
from tests.layers.switches import Put

RECORD_OF_LAYER_1 = "one_act_per_form"
RECORD_OF_LAYER_2 = "one_refund_per_key"
CAP = "refunds_stay_within_their_charge"
TABLES = ("payments_refund", "shop_staffact")


def layer_1_off(put: Put) -> None:
    """No form is known again, and none is stale. The unique index goes by `no_constraints`."""
    put(Act, "begin", lambda act: None)
    put(Act, "is_done", lambda act: False)
    put(page, "_done_by", lambda form_key: None)


def layer_2_off(put: Put) -> None:
    """Each press gets a key of its own, whatever the page or the program sent."""
    real = refunds._ask
    put(views, "required_key", lambda request: new_id())
    put(refunds, "_ask", lambda payment, key, *rest: real(payment, new_id(), *rest))


def layer_3_off(put: Put) -> None:
    """No row lock, no look at what is left, no id that follows from a key. The rest goes by `no_constraints`."""
    no_row_lock(put)
    no_look_at_what_is_left(put)
    put(refund, "_commit_sending", send_without_asking)
    no_derived_ids(put)


def no_row_lock(put: Put) -> None:
    put(refund, "locked_payment", switches.read_payment)


def no_look_at_what_is_left(put: Put) -> None:
    """Of the claim; the look before the call is `_commit_sending`'s."""
    put(refund, "left_to_refund", lambda payment: 10**12)


def no_derived_ids(put: Put) -> None:
    """An id that follows from the key is a unique key too, by the primary key, and the gateway key follows from it."""
    for module in (charges, refund):
        put(module, "refund_id", lambda payment_id, key: new_id())


def no_question_of_the_key(put: Put) -> None:
    """The claim does not look for a row of its key."""
    put(refund, "_same", lambda payment, ask: None)


def layer_5_off(put: Put, gateway: str = "ForgetfulGateway") -> None:
    put(settings, "PAYMENT_GATEWAY", f"{__name__}.{gateway}")
    base.gateway.cache_clear()


def send_without_asking(row: Refund, lease: Lease, listed: list[SeenRefund]) -> bool:
    Refund.objects.filter(pk=row.pk).update(sent_at=timezone.now())
    return True


class BlindGateway(StripeGateway):
    """Stripe's list shows nothing: only its memory of keys is left."""

    def list_refunds(
        self, deadline: Deadline, calls: list[Call], *, intent_id: str = "", charge_id: str = ""
    ) -> list[SeenRefund]:
        return []


class KeylessGateway(StripeGateway):
    """Stripe remembers no key: only its list is left."""

    def create_refund(
        self, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]
    ) -> tuple[SeenRefund, bool]:
        return super().create_refund(params, f"{settings.PAYMENT_ENV}:refund:{new_id()}", deadline, calls)


class ForgetfulGateway(BlindGateway, KeylessGateway):
    """What a refund without layer 5 meets."""


@contextmanager
def no_constraints(*keep: str) -> Iterator[list[str]]:
    """The unique keys of refunds and of acts, and the trigger that caps refunds, are gone until the block ends."""
    with connection.cursor() as cursor:
        gone, put_back = switches.drop_unique(cursor, *TABLES, keep=keep)
        if CAP not in keep:
            cursor.execute(f"ALTER TABLE payments_refund DISABLE TRIGGER {CAP}")
            put_back.append(f"ALTER TABLE payments_refund ENABLE TRIGGER {CAP}")
            gone.append(CAP)
    try:
        yield gone
    finally:
        with connection.cursor() as cursor:
            switches.put_back_over_empty_tables(cursor, put_back, *TABLES)
