"""A layer's file says which it is, what it stops, and what it does not: the names of DESIGN section 2 cannot rot."""

import re

import pytest

from shop.env import BASE_DIR

FILES = {
    "templates/payments/_pay_button.html": 1,
    "static/js/pay_button.js": 1,
    "shop/idempotency.py": 2,
    "payments/models.py": 3,
    "payments/row_lock.py": 3,
    "payments/redis_lock.py": 4,
    "payments/gateways/stripe.py": 5,
}
MARKS = re.compile(r'^(?:"""|//|\{#|\{% comment %\}|<!--)?\s*')


@pytest.mark.parametrize("path", FILES)
def test_the_file_opens_with_its_layer_and_says_what_it_stops_and_what_not(path):
    opening = (BASE_DIR / path).read_text()[:1500]
    assert MARKS.sub("", opening).startswith(f"Layer {FILES[path]} of 5 - "), opening[:80]
    assert "Stops:" in opening
    assert "Does not stop:" in opening
    assert opening.index("Stops:") < opening.index("Does not stop:")


@pytest.mark.parametrize("layer", [1, 2, 3, 4, 5])
def test_each_layer_has_a_test_of_its_own(layer):
    assert list((BASE_DIR / "tests").glob(f"*/test_{layer}_*.py"))


@pytest.mark.parametrize("layer", [1, 2, 3, 4, 5])
def test_each_layer_of_a_refund_has_a_test_of_its_own(layer):
    """Of the fourth, which a refund does not have, that nothing is missed."""
    assert list((BASE_DIR / "tests").glob(f"*/test_{layer}_refund_*.py"))
