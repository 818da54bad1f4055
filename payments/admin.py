"""What staff see of money: everything, and nothing of it editable. Acts come through the core, never through a form."""

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator
from django.utils.timesince import timesince

from orders.personal import Viewer, email_for
from payments.backoffice.actions.ask_stripe import MOST_CHOSEN, ask_about
from payments.backoffice.actions.available import NEEDS
from payments.backoffice.filters import StateFilter
from payments.backoffice.payment.page import at_stripe, payment_page
from payments.backoffice.runbook import page_names, read_page
from payments.backoffice.search import MOST, find_payments
from payments.models import Attempt, Break, Payment, RefundProposal, WebhookEvent
from payments.monitoring.alarms import break_page
from payments.reconciliation.inbox import ours_alone
from payments.reconciliation.missing import ends_here
from shop.money import money_text
from shop.staff_pages import ReadOnly, who_does_this


@admin.register(Payment)
class PaymentAdmin(ReadOnly, admin.ModelAdmin[Payment]):
    # As many as fit a screen of 1280 pixels: the payment's page has the rest.
    list_display = ["order_number", "phase", "amount", "refunded", "card", "created"]
    list_filter = [StateFilter, "phase", "currency", "created_at"]
    list_select_related = ["order"]  # and no date_hierarchy: it reads every row, on each page
    search_help_text = "E-mail, order number, amount (24.00), last four digits; intent, charge, refund; any id or key"
    search_fields = ["pk"]  # shows the box; find.py searches
    show_full_result_count = False
    fields = ()  # the page is payments/backoffice/payment/page.py
    actions = ["ask_stripe_now"]

    @admin.action(description="Ask Stripe now", permissions=["reconcile"])
    def ask_stripe_now(self, request: HttpRequest, queryset: QuerySet[Payment]) -> HttpResponse:
        return ask_about(request, list(queryset.values_list("order_id", flat=True)[: MOST_CHOSEN + 1]))

    def has_reconcile_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("payments.reconcile_payment")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        payment = self.get_object(request, unquote(object_id))
        shown = {}
        if payment is not None and self.has_view_permission(request, payment):
            shown = payment_page(request, payment)
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> list[str | Callable[[Payment], str | bool]]:
        """The shopper's address as this viewer may see it."""

        @admin.display(description="e-mail")
        def email(payment: Payment) -> str | bool:
            return email_for(request.user, payment.order.email)

        number, *rest = self.list_display
        return [number, email, *rest]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Payment], search_term: str
    ) -> tuple[QuerySet[Payment], bool]:
        if not search_term.strip():
            return queryset, False
        found, more = find_payments(search_term)
        if more:
            self.message_user(request, f"Only the newest {MOST} payments are shown.", messages.WARNING)
        return queryset.filter(pk__in=found), False

    @admin.display(description="order", ordering="order__number")
    def order_number(self, payment: Payment) -> str:
        return payment.order.number

    @admin.display(description="amount", ordering="amount_minor")
    def amount(self, payment: Payment) -> str:
        return payment.amount_text

    @admin.display(description="refunded", ordering="refunded_minor")
    def refunded(self, payment: Payment) -> str:
        return money_text(payment.refunded_minor, payment.currency)

    @admin.display(description="created (UTC)", ordering="created_at")
    def created(self, payment: Payment) -> str:
        return f"{payment.created_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="card")
    def card(self, payment: Payment) -> str:
        return payment.card_last4 or "-"


@admin.register(Attempt)
class AttemptAdmin(ReadOnly, admin.ModelAdmin[Attempt]):
    list_display = [
        "order_number",
        "number",
        "phase",
        "outcome",
        "reason",
        "decline_code",
        "pressed_at",
        "next_look_at",
    ]
    list_filter = ["outcome", "phase", "origin", "pressed_at"]
    list_select_related = ["order"]
    search_fields = ["order__number__iexact", "order__email__iexact", "idempotency_key__exact", "charge_id__exact"]
    exclude = ["answer_body", "fingerprint", "confirm_params"]

    @admin.display(description="order", ordering="order__number")
    def order_number(self, attempt: Attempt) -> str:
        return attempt.order.number


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnly, admin.ModelAdmin[WebhookEvent]):
    """The inbox of Stripe's events. Only hints are kept of them: no card, no address, no secret (EXPERIENCE ST9)."""

    list_filter = ["state", "type", "received_at"]
    search_fields = ["event_id__exact", "intent_id__exact", "object_id__exact"]
    search_help_text = "Event, intent or other id of Stripe's; or an order's number"
    show_full_result_count = False
    readonly_fields = ["why", "about", "named", "received_at"]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return ["type", "state", _replay(request.user), "why", "about", "received_at", "tries", "event_id"]

    def get_fieldsets(self, request: HttpRequest, obj: WebhookEvent | None = None) -> Any:
        return [
            (None, {"fields": ["event_id", "type", "state", "why", _replay(request.user), "about"]}),
            ("What it holds", {"fields": ["object_id", "intent_id", "livemode", "named", "request_key"]}),
            ("Time", {"fields": ["created_at_gateway", "received_at", "tries", "next_try_at", "done_at"]}),
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[WebhookEvent], search_term: str
    ) -> tuple[QuerySet[WebhookEvent], bool]:
        found, more = super().get_search_results(request, queryset, search_term)
        intents = Payment.objects.filter(order__number=search_term.strip().upper(), intent_id__isnull=False)
        return found | queryset.filter(intent_id__in=intents.values("intent_id")), more

    @admin.display(description="why it is where it is")
    def why(self, event: WebhookEvent) -> str:
        if event.state != WebhookEvent.State.STORED:
            return event.note or event.state
        if not event.tries:
            return "waits for its first try"
        return f"parked after {event.tries} tries: {event.note or '-'}; again at {event.next_try_at:%H:%M:%S} UTC"

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEvent]:
        payment = Payment.objects.filter(intent_id=OuterRef("intent_id")).values("pk")[:1]
        return super().get_queryset(request).annotate(payment_pk=Subquery(payment))

    @admin.display(description="payment")
    def about(self, event: WebhookEvent) -> str:
        payment_pk = getattr(event, "payment_pk", None)
        if payment_pk is None:
            return event.intent_id or "-"
        page = reverse("admin:payments_payment_change", args=[quote(payment_pk)])
        return format_html('<a href="{}">{}</a>', page, event.intent_id)

    @admin.display(description="metadata")
    def named(self, event: WebhookEvent) -> str:
        """Ours as it is; what others may have written there is not shown."""
        return ", ".join(f"{name}: {worth}" for name, worth in ours_alone(event.metadata).items()) or "-"


@admin.register(Break)
class BreakAdmin(ReadOnly, admin.ModelAdmin[Break]):
    """What differs between Stripe's book and our rows, with what can be done about it."""

    list_filter = ["kind", ("resolved_at", admin.EmptyFieldListFilter), ("owner", admin.EmptyFieldListFilter)]
    list_select_related = ["payment__order", "owner"]
    search_fields = ["subject__exact", "order__number__iexact"]
    search_help_text = "Intent, charge or refund; or an order's number"
    readonly_fields = ["age", "amount", "payment_link", "proposal", "at_stripe", "runbook", "found_at"]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return ["kind", "age", "amount", "payment_link", "owner", _break_acts(request.user, short=True), "short_note"]

    def get_fieldsets(self, request: HttpRequest, obj: Break | None = None) -> Any:
        acts = _break_acts(request.user)
        return [
            (None, {"fields": ["kind", "subject", "amount", "payment_link", "proposal", "at_stripe", "runbook", acts]}),
            ("Who looks into it", {"fields": ["owner", "found_at", "resolved_at", "resolved_by", "note"]}),
            ("What was seen", {"fields": ["seen"]}),
        ]

    @admin.display(description="note")
    def short_note(self, found: Break) -> str:
        return Truncator(found.note).chars(60) or "-"

    @admin.display(description="evidence")
    def seen(self, found: Break) -> str:
        """Names and worths, whatever lies in what."""
        rows = format_html_join("", '<tr><th scope="row">{}</th><td>{}</td></tr>', _flat(found.evidence))
        return format_html('<table class="desk-table"><tbody>{}</tbody></table>', rows) if rows else "-"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Break]:
        return super().get_queryset(request).select_related("payment__order", "owner")

    @admin.display(description="open for", ordering="found_at")
    def age(self, found: Break) -> str:
        return "resolved" if found.resolved_at else timesince(found.found_at, depth=1)

    @admin.display(description="amount", ordering="amount_minor")
    def amount(self, found: Break) -> str:
        return found.amount_text or "-"

    @admin.display(description="what staff could do")
    def proposal(self, found: Break) -> str:
        return found.proposal or "-"

    @admin.display(description="payment")
    def payment_link(self, found: Break) -> str:
        return _payment_link(found.payment) if found.payment else "-"

    @admin.display(description="at Stripe")
    def at_stripe(self, found: Break) -> str:
        page = at_stripe(found)
        return format_html('<a href="{}" rel="noreferrer">Its page at Stripe</a>', page) if page else "-"

    @admin.display(description="runbook")
    def runbook(self, found: Break) -> str:
        return _runbook_link(found, read_page(page_names()[break_page(found.kind, found.found_by)]).title)


@admin.register(RefundProposal)
class RefundProposalAdmin(ReadOnly, admin.ModelAdmin[RefundProposal]):
    """Refunds above the threshold: proposed by one person, approved or refused by another, or withdrawn."""

    list_filter = [("decision", admin.EmptyFieldListFilter), "decision", "proposed_at"]
    list_select_related = ["payment__order", "proposed_by", "decided_by"]
    fields = ["amount", "payment_link", "reason", "note", "proposed_by", "proposed_at", "decision", "decided_by"]
    readonly_fields = ["amount", "payment_link", "proposed_at"]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        who = ["proposed_by", "proposed_at", "decision", "decided_by"]
        return ["amount", "payment_link", "reason", *who, _decide(request.user)]

    @admin.display(description="amount", ordering="amount_minor")
    def amount(self, proposal: RefundProposal) -> str:
        return money_text(proposal.amount_minor, proposal.currency)

    @admin.display(description="payment")
    def payment_link(self, proposal: RefundProposal) -> str:
        return _payment_link(proposal.payment)


def _payment_link(payment: Payment) -> str:
    page = reverse("admin:payments_payment_change", args=[quote(payment.pk)])
    return format_html('<a href="{}">{} of {}</a>', page, f"payment {payment.n}", payment.order.number)


# --- The ways to acts: links for who may press them, and for the others whose they are -----------------------------


def _break_acts(viewer: Viewer, *, short: bool = False) -> Callable[[Break], str]:
    """What cannot be is told on the act's own page."""

    @admin.display(description="acts")
    def acts(found: Break) -> str:
        ways = [] if found.resolved_at else _ways_of(found)
        shown = [_way(viewer, name, label, reverse(f"desk:{page}", args=[found.pk])) for name, page, label in ways]
        shown += [_runbook_link(found, "Runbook")] if short else []
        return format_html_join("", '<div class="desk-way">{}</div>', ((one,) for one in shown)) if shown else "-"

    return acts


def _ways_of(found: Break) -> list[tuple[str, str, str]]:
    ways = [
        ("take on break", "take-break", "Take this break on"),
        ("resolve break", "resolve-break", "Resolve this break"),
    ]
    if found.kind == Break.Kind.DOUBLE_CHARGE:
        ways.insert(0, ("refund duplicate", "refund-duplicate", "Give the second charge back"))
    if found.kind == Break.Kind.AMOUNT and found.charge_id is not None:
        ways.insert(0, ("refund mismatch", "refund-mismatch", "Give the other amount back"))
    if ends_here(found):
        ways.insert(0, ("end missing", "end-missing", "End the payment that Stripe does not know"))
    return ways


def _replay(viewer: Viewer) -> Callable[[WebhookEvent], str]:
    @admin.display(description="act")
    def replay(event: WebhookEvent) -> str:
        return _way(viewer, "replay webhook", "Replay", reverse("desk:replay-event", args=[event.event_id]))

    return replay


def _decide(viewer: Viewer) -> Callable[[RefundProposal], str]:
    @admin.display(description="act")
    def decide(proposal: RefundProposal) -> str:
        page = reverse("desk:decide-refund", args=[proposal.pk])
        return "-" if proposal.decision else _way(viewer, "approve refund", "Decide, or withdraw", page)

    return decide


def _way(viewer: Viewer, name: str, label: str, page: str) -> str:
    if viewer.has_perm(NEEDS[name]):
        return format_html('<a href="{}">{}</a>', page, label)
    return format_html('{}: <span class="desk-quiet">{}</span>', label, who_does_this(NEEDS[name]).lower())


def _runbook_link(found: Break, label: str) -> str:
    page = break_page(found.kind, found.found_by)
    return format_html('<a href="{}">{}</a>', reverse("desk:runbook-page", args=[page]), label)


def _flat(worth: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """`{"refund": {"id": "re_1"}}` -> `refund: id`, `re_1`."""
    if isinstance(worth, dict):
        for key, one in worth.items():
            label = str(key).replace("_", " ")
            yield from _flat(one, f"{name}: {label}" if name else label)
    else:
        words = ", ".join(str(one) for one in worth) if isinstance(worth, list) else str(worth)
        yield name, words if worth not in ("", None) else "-"
