"""Intents: the calls to Stripe about one PaymentIntent, and what each answer proves.

None of them writes an outcome: they return a Finding, and payments/outcome.py records it.
"""

from dataclasses import dataclass, replace

import structlog

from payments import responses
from payments.errors import (
    Declined,
    GatewayError,
    Invalid,
    KeyReused,
    Missing,
    NothingSent,
    Undecided,
    WrongState,
)
from payments.gateways.base import Call, Intent, gateway, is_token
from payments.gateways.transport import Deadline
from payments.models import Attempt, Outcome, Payment
from payments.monitoring.blocked_requests import count_replay
from payments.row_lock import give_back_connections

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Finding:
    """What one answer of the gateway, or one look at the intent, has established.

    Attributes:
        intent: the intent as just fetched; None if nothing was learnt of it.
        outcome: what was said of this very attempt under its own key: declined, failed, released; or unknown.
        reason: ours, for the shopper; `decline_code` is Stripe's, for staff.
        charge_id: the failed charge that a decline named.
        event_key: the gateway key that a webhook event of a failed payment carries (proof d).
        missing: the gateway answers, and does not know the intent.
        given_up: why a member of staff ends a payment that is missing.
        heard: the gateway answers, though it said nothing of this press; for the circuit breaker.
    """

    intent: Intent | None = None
    outcome: str = ""
    reason: str = ""
    decline_code: str = ""
    charge_id: str = ""
    stored_5xx: bool = False
    event_key: str = ""
    missing: bool = False
    given_up: str = ""
    heard: bool = False
    calls: tuple[Call, ...] = ()

    @property
    def was_answered(self) -> bool:
        """Whether the gateway said anything about this press; for the circuit breaker."""
        return self.heard or self.has_spoken or self.outcome in (Outcome.DECLINED, Outcome.FAILED)

    @property
    def has_spoken(self) -> bool:
        """Whether the gateway said what it knows of the intent."""
        return self.intent is not None or self.missing


def send_confirm(attempt: Attempt, payment: Payment, deadline: Deadline, calls: list[Call]) -> Finding:
    """The confirm call of a committed attempt, and every answer it can get (RULES R24, row by row)."""
    assert payment.intent_id is not None
    bank = gateway()
    try:
        intent, replayed = bank.confirm_intent(
            payment.intent_id, attempt.confirm_params, attempt.confirm_key, deadline, calls
        )
    except Declined as no:
        return Finding(
            outcome=Outcome.DECLINED,
            reason=responses.reason_for(no.code, no.decline_code),
            decline_code=no.decline_code or no.code,
            charge_id=no.charge_id,
            calls=tuple(calls),
        )
    except NothingSent as error:
        if error.needs_staff:
            log.error("gateway_refuses_our_key", order=attempt.order_id, error=str(error))
        return Finding(outcome=Outcome.RELEASED, calls=tuple(calls))
    except Invalid as error:
        return _refused(attempt, error, calls)
    except Undecided as error:
        return Finding(outcome=Outcome.UNKNOWN, stored_5xx=error.stored_5xx, calls=tuple(calls))
    except (WrongState, KeyReused) as error:
        seen = look_at_intent(payment, deadline, calls)
        if isinstance(error, KeyReused):
            # A replay could only meet the same refusal: if the intent does not speak, it is canceled at once.
            log.error("confirm_key_reused", order=attempt.order_id, attempt=attempt.pk)
            return replace(seen, stored_5xx=True)
        return seen
    count_replay(attempt.order_id, calls)
    if replayed and intent.status not in ("succeeded", "canceled"):
        # A replay shows only that the confirm ran, and the intent as it was then.
        return look_at_intent(payment, deadline, calls)
    return Finding(intent, calls=tuple(calls))


def _refused(attempt: Attempt, error: Invalid, calls: list[Call]) -> Finding:
    """A confirm that was not carried out: for its token, for its intent, or for a call of ours that is wrong."""
    if isinstance(error, Missing):
        # Of this press nothing can have been charged. What an earlier one of this payment came to stays as it is.
        return Finding(outcome=Outcome.RELEASED, missing=True, calls=tuple(calls))
    about_token = is_token(error.param)
    if not about_token:
        log.error("confirm_refused", order=attempt.order_id, code=error.code, param=error.param)
    reason = "details-not-usable" if about_token else "refused"
    return Finding(outcome=Outcome.FAILED, reason=reason, decline_code=error.code, calls=tuple(calls))


def look_at_intent(payment: Payment, deadline: Deadline, calls: list[Call]) -> Finding:
    """Read the intent and let its state speak; not reaching Stripe leaves everything unknown."""
    assert payment.intent_id is not None
    try:
        intent = gateway().retrieve_intent(payment.intent_id, deadline, calls)
    except Missing:
        return Finding(outcome=Outcome.UNKNOWN, missing=True, calls=tuple(calls))
    except GatewayError:
        return Finding(outcome=Outcome.UNKNOWN, calls=tuple(calls))
    return Finding(intent, calls=tuple(calls))


def cancel_intent(payment: Payment, deadline: Deadline, calls: list[Call]) -> Finding:
    """Cancel at Stripe, and take the answer: canceled, or what was faster. Under the payment's or attempt's lease.

    The key grows after each definite answer, for Stripe would replay a stored refusal for a day.
    """
    assert payment.intent_id is not None
    try:
        intent = gateway().cancel_intent(payment.intent_id, payment.cancel_key, deadline, calls)
        count_replay(payment.order_id, calls)
        return Finding(intent, calls=tuple(calls))
    except Missing:
        Payment.objects.filter(pk=payment.pk, cancels=payment.cancels).update(cancels=payment.cancels + 1)
        return Finding(outcome=Outcome.UNKNOWN, missing=True, calls=tuple(calls))
    except (WrongState, Invalid, KeyReused):
        Payment.objects.filter(pk=payment.pk, cancels=payment.cancels).update(**payment.next_cancel())
        give_back_connections()
        return look_at_intent(payment, deadline, calls)
    except Undecided as error:
        if error.stored_5xx:
            Payment.objects.filter(pk=payment.pk, cancels=payment.cancels).update(**payment.next_cancel())
            give_back_connections()
            return look_at_intent(payment, deadline, calls)  # it may have been done all the same
        return Finding(outcome=Outcome.UNKNOWN, calls=tuple(calls))
    except GatewayError:
        return Finding(outcome=Outcome.UNKNOWN, calls=tuple(calls))
