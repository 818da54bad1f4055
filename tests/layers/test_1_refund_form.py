"""Layer 1 of a refund alone: the desk's form, whose one-time key is used once.

What the page itself does is a courtesy: its script disables the buttons once the form is on its way (tests/browser).
The key that the form carries is the layer: the act's audit row is unique by it, in the transaction of the refund. Off
are the refund's own keys and ids, row lock, trigger, the look at what is left, and the gateway's memory.
"""

from collections import Counter

from payments.models import Refund
from shop.acts import Act
from shop.models import StaffAct
from tests.layers import switches_of_refunds
from tests.layers.refunding import PART, given_back, paid
from tests.payments.staff import address, clerk, said, shown
from tests.races.crowd import CROWD, all_look_before_any_writes, at_once, same_browser


def a_filled_form(browser, payment):
    hidden = shown(browser, address("refund", payment.pk))
    return hidden | {"amount": f"{PART / 100}0", "reason": "duplicate", "note": "paid twice", "step": "confirm"}


def twenty_posts(browser, payment, form):
    twins = same_browser(browser)
    return at_once(CROWD, lambda number: twins[number].post(address("refund", payment.pk), form))


def test_twenty_posts_of_one_form_give_back_once(off_of_refunds, book):
    gone = off_of_refunds(2, 3, 5)
    assert "one_act_per_form" not in gone
    payment, browser = paid(), clerk("clara", "payments.refund_payment")

    answers = twenty_posts(browser, payment, a_filled_form(browser, payment))

    assert given_back(book, payment) == [PART]
    assert (StaffAct.objects.count(), Refund.objects.count()) == (1, 1)
    # 409: the form is about what was so before the first; all others are told that it was carried out.
    assert Counter(answer.status_code for answer in answers).keys() <= {303, 409}


def test_the_unique_key_of_the_form_s_act_alone_stops_nineteen_that_all_found_it_unused(
    off_of_refunds, book, monkeypatch
):
    """`one_act_per_form` decides: all have looked before any of them writes, and the refunds of the others are rolled
    back with their acts."""
    off_of_refunds(2, 3, 5)
    payment, browser = paid(), clerk("clara", "payments.refund_payment")
    form = a_filled_form(browser, payment)
    all_look_before_any_writes(monkeypatch, Act, "write")

    answers = twenty_posts(browser, payment, form)

    assert [answer.status_code for answer in answers] == [303] * CROWD
    assert sum("carried out before" in said(answer) for answer in answers) == CROWD - 1
    assert given_back(book, payment) == [PART]
    assert (StaffAct.objects.count(), Refund.objects.count()) == (1, 1)


def test_without_it_the_same_twenty_posts_give_back_twenty_times(off_of_refunds, book):
    """The control of the tests above."""
    off_of_refunds(1, 2, 3, 5)
    payment, browser = paid(), clerk("clara", "payments.refund_payment")

    answers = twenty_posts(browser, payment, a_filled_form(browser, payment))

    assert [answer.status_code for answer in answers] == [303] * CROWD
    assert given_back(book, payment) == [PART] * CROWD


def test_it_does_not_stop_the_same_wish_in_a_form_that_is_made_anew(off_of_refunds, book):
    """Two forms are two wishes. The page shows what has gone back, for a clerk who is not sure."""
    off_of_refunds(2, 3, 5)
    payment, browser = paid(), clerk("clara", "payments.refund_payment")

    for _ in range(2):
        browser.post(address("refund", payment.pk), a_filled_form(browser, payment))

    assert given_back(book, payment) == [PART] * 2


def test_a_form_about_what_is_no_longer_so_is_refused_by_the_version_of_what_its_reader_saw(
    off_of_refunds, book, monkeypatch
):
    """Two forms, two keys, shown at one time: the first changes what the second was about."""
    off_of_refunds(2, 3, 5)
    payment, browser = paid(), clerk("clara", "payments.refund_payment")
    first, second = a_filled_form(browser, payment), a_filled_form(browser, payment)

    assert [browser.post(address("refund", payment.pk), form).status_code for form in (first, second)] == [303, 409]
    assert given_back(book, payment) == [PART]
    switches_of_refunds.layer_1_off(monkeypatch.setattr)
    assert browser.post(address("refund", payment.pk), second).status_code == 303
    assert given_back(book, payment) == [PART] * 2
