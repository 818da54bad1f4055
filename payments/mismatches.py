"""Mismatches: Stripe took another amount or currency than the order's. The order is not paid by it, and nobody may pay
it beside that; so staff give all of it back, once, and then the press has ended (RULES R83, settle._mismatch).

As with a duplicate, no row of ours asked for that money, so the open break carries the exact call. Whoever gives it
back, staff here or somebody in Stripe's dashboard: the press ends when Stripe's list of refunds shows all of it.
"""

import structlog

from payments.complete import ask_stripe
from payments.duplicates import carry_out_prepared, claim_prepared
from payments.errors import RowBusy
from payments.gateways.base import SeenRefund
from payments.models import Asker, Break
from shop.acts import Act

log = structlog.get_logger(__name__)


def refund_mismatch(
    found: Break, asked_by: Asker = Asker.STAFF, actor: str = "", act: Act | None = None
) -> SeenRefund | None:
    """Carry the prepared refund of another amount out, or learn that it was, and end the press if all has gone back.

    Safe to run many times and at once. None if there is nothing left to do.

    Raises:
        GatewayError: Stripe has not said yes. Running it again is safe, whatever became of this call.
        DoneAlready, StaleForm: of the act of staff that it is.
    """
    claimed = claim_prepared(found.pk, Break.Kind.AMOUNT, actor or asked_by, act)
    if claimed is None or claimed.order is None:
        return None
    seen = carry_out_prepared(claimed, asked_by, actor, "mismatch refunded")
    try:
        ask_stripe(claimed.order, asked_by, actor)  # while a refund is pending, the completer goes on
    except RowBusy:
        log.warning("mismatch_left_to_completer", order=claimed.order_id)
    return seen
