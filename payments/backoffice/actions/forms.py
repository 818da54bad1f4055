"""The forms of acts. Each carries its one-time key, and what its reader saw (RULES R96)."""

from typing import Any

from django import forms
from django.core import signing

from payments.models import Payment, Refund
from payments.refund import left_in_words, left_to_refund
from shop.acts import Snapshot, version_of
from shop.ids import new_id
from shop.money import minor_of, money_text, plain_text

_SALT = "what the reader of a form saw"
NOTE_MOST = 400
REASONS = [
    (Refund.Reason.REQUESTED_BY_CUSTOMER.value, "The shopper asked for it"),
    (Refund.Reason.DUPLICATE.value, "Paid twice"),
    (Refund.Reason.FRAUDULENT.value, "Fraud"),
]


class ActForm(forms.Form):
    """`form_key`: carried out at most once. `version`: of what the page showed. `seen`: the same in full, to say
    afterwards what has changed."""

    form_key = forms.RegexField(r"^[A-Za-z0-9_-]{16,40}$", widget=forms.HiddenInput)
    version = forms.RegexField(r"^[0-9a-f]{32}$", widget=forms.HiddenInput)
    seen = forms.CharField(required=False, max_length=50_000, widget=forms.HiddenInput)

    use_required_attribute = False  # errors are said by the page, not by the browser alone

    def note_text(self) -> str:
        return str(self.cleaned_data.get("note", ""))


def marks_of(snapshot: Snapshot) -> dict[str, str]:
    """The hidden fields of a form that is shown now."""
    return {"form_key": new_id(), "version": version_of(snapshot), "seen": signing.dumps(snapshot, salt=_SALT)}


def typed_in(form: ActForm) -> list[tuple[str, str]]:
    """What was written into a form that cannot be carried out any more: label and entry."""
    fields = [(field, str(field.value() or "")) for field in form.visible_fields()]
    return [(str(field.label), text) for field, text in fields if text]


def seen_in(form: ActForm) -> Snapshot | None:
    """What the page that made this form showed; None if it does not say."""
    try:
        seen: Snapshot = signing.loads(form.data.get("seen", ""), salt=_SALT)
    except signing.BadSignature:
        return None
    return seen


class NoteField(forms.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=NOTE_MOST, widget=forms.Textarea(attrs={"rows": 3, "cols": 60}), **kwargs)


class WithReason(ActForm):
    """An act that needs a reason in writing."""

    note = NoteField(
        label="Why", help_text="For whoever reads this later.", error_messages={"required": "Write down why"}
    )


class DecideForm(ActForm):
    """Two buttons: without one of them nothing is decided."""

    note = NoteField(label="Note", required=False)

    def clean(self) -> None:
        if self.data.get("decision") not in ("approve", "refuse"):
            raise forms.ValidationError("Choose one of the buttons")


class RefundForm(ActForm):
    amount = forms.CharField(
        max_length=30,
        error_messages={"required": "Write how much goes back", "max_length": "That is not an amount: it is too long"},
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )
    reason = forms.ChoiceField(
        label="Reason, for Stripe",
        choices=[("", "Choose a reason"), *REASONS],
        error_messages={"required": "Choose a reason"},
    )
    note = NoteField(
        label="Why, for us",
        help_text="For whoever reads this later. The shopper does not see it.",
        error_messages={"required": "Write down why"},
    )

    def __init__(self, *args: Any, payment: Payment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.payment = payment
        example = plain_text(1250, payment.currency)
        amount = self.fields["amount"]
        amount.label = f"Amount in {payment.currency}"
        amount.help_text = f"In figures, such as {example}."

    def clean_amount(self) -> int:
        try:
            amount_minor = minor_of(self.cleaned_data["amount"], self.payment.currency)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if amount_minor == 0:
            raise forms.ValidationError("Nothing would go back: write more than 0")
        if amount_minor > left_to_refund(self.payment):
            most = left_in_words(self.payment).rstrip(".")
            raise forms.ValidationError(f"{money_text(amount_minor, self.payment.currency)} is too much: {most}")
        return amount_minor
