"""Proposals: a refund above the threshold takes two people (SECURITY SE49). One proposes, another agrees or refuses.

Agreeing is part of the transaction that claims the refund (refund.claim_refund): a proposal that is approved has its
refund, and the key of that refund comes from the proposal, so it moves the money once, whoever agrees how often.
"""

from django.conf import settings
from django.utils import timezone

from payments.models import Payment, RefundProposal
from payments.row_lock import locked_payment
from shop.acts import Act, StaleForm, witnessed
from shop.problems import Problem

Decision = RefundProposal.Decision


def takes_two(payment: Payment, amount_minor: int) -> bool:
    """Whether one person alone may no longer give so much back: with what staff have given back of this payment on
    one person's word, so that a large refund is not made in small parts."""
    most = settings.REFUND_NEEDS_SECOND_PERSON_MINOR
    if most is None:
        return False
    agreed = payment.refund_proposals.filter(decision=Decision.APPROVED)
    alone = payment.refunds.perhaps_given().filter(charge=payment.charge_id, actor__isnull=False)
    alone = alone.exclude(idempotency_key__in=[proposal.refund_key for proposal in agreed])
    return bool(alone.total_minor() + amount_minor > most)


def waiting_proposal(payment: Payment) -> RefundProposal | None:
    return payment.refund_proposals.filter(decision="").select_related("proposed_by").first()


def propose_refund(payment: Payment, amount_minor: int, reason: str, act: Act) -> RefundProposal:
    """Write down what a second person is asked to agree to. No money moves.

    Raises:
        Problem: request-in-progress while another proposal waits.
        DoneAlready, StaleForm: of the act.
    """
    with locked_payment(payment.pk, payment.order_id) as (order, locked), witnessed(act):
        if waiting_proposal(locked) is not None:
            raise Problem("request-in-progress", "Another proposal waits to be decided.", extra={"order": order.pk})
        return RefundProposal.objects.create(
            payment=locked,
            amount_minor=amount_minor,
            currency=locked.currency,
            reason=reason,
            note=act.note[:400],
            proposed_by=act.who.user,
        )


def agree(payment: Payment, proposal_id: int, actor_id: int | None) -> None:
    """The second person's yes, in the transaction that claims the refund.

    Raises:
        StaleForm: it was decided already. Problem: forbidden to who proposed it.
    """
    proposal = RefundProposal.objects.select_for_update(no_key=True, of=("self",)).get(pk=proposal_id, payment=payment)
    _decide(proposal, Decision.APPROVED, actor_id)


def refuse_refund(proposal: RefundProposal, act: Act) -> None:
    """The second person's no, or the first one's second thought. No money moves.

    Raises:
        DoneAlready, StaleForm: of the act, or it was decided already.
    """
    payment = proposal.payment
    with locked_payment(payment.pk, payment.order_id), witnessed(act):
        locked = RefundProposal.objects.select_for_update(no_key=True, of=("self",)).get(pk=proposal.pk)
        _decide(locked, Decision.REFUSED, act.who.user.pk)


def _decide(proposal: RefundProposal, decision: RefundProposal.Decision, actor_id: int | None) -> None:
    if proposal.decision:
        raise StaleForm(f"proposal {proposal.pk}")
    if actor_id is None or (decision == Decision.APPROVED and actor_id == proposal.proposed_by_id):
        raise Problem("forbidden", "You proposed this refund: somebody else must approve it.")
    proposal.decision, proposal.decided_by_id, proposal.decided_at = decision, actor_id, timezone.now()
    proposal.save(update_fields=["decision", "decided_by", "decided_at"])
