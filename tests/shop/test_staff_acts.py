"""What staff have done is there to be read, by those who may, and by nobody to be changed (SECURITY SE50)."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client

from shop.acts import Act, Who, witnessed
from shop.ids import new_id
from shop.models import StaffAct

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/shop/staffact/"


def member(group: str, **fields: Any) -> Client:
    user = User.objects.create_user(f"{group}-member", is_staff=True, **fields)
    user.groups.set(Group.objects.filter(name=group))
    client = Client()
    client.force_login(user)
    return client


def done(name: str, actor: str = "carl", order_id: str = "", subject: str = "break 12", **fields: Any) -> StaffAct:
    user, _ = User.objects.get_or_create(username=actor, defaults={"is_staff": True})
    states: Iterator[dict[str, object]] = iter([{"stock": 3}, {"stock": 5}])
    who = Who(user, "192.0.2.7", "a browser")
    with (
        transaction.atomic(),
        witnessed(Act(name, who, subject, lambda: next(states), order_id, form_key=new_id(), **fields)),
    ):
        pass
    return StaffAct.objects.latest("id")


@pytest.mark.parametrize(("group", "code"), [("clerk", 403), ("finance", 200), ("on-call", 200)])
def test_finance_and_on_call_read_it(group: str, code: int) -> None:
    assert member(group).get(LIST).status_code == code


def test_a_row_says_who_when_from_where_and_what_was_before_and_after() -> None:
    order_id = new_id()
    act = done("correct stock", order_id=order_id, note="two more were found")
    page = member("on-call").get(f"{LIST}{act.pk}/change/").content.decode()
    told = ("carl", "correct stock", "192.0.2.7", "a browser", "two more were found", f"{act.at:%Y-%m-%d %H:%M:%S}")
    for said in (*told, "&quot;stock&quot;: 3", "&quot;stock&quot;: 5", order_id):
        assert said in page, said
    assert 'name="_save"' not in page


def test_it_is_filtered_by_act_and_actor_and_found_by_order_or_subject() -> None:
    order_id = new_id()
    done("refund", "carl", order_id, "payment pi_1")
    done("resolve break", "clara", "", "break 12")
    reader = member("finance")
    wanted = [
        ({"act": "refund"}, "payment pi_1", "break 12"),
        ({"actor__id__exact": str(User.objects.get(username="clara").pk)}, "break 12", "payment pi_1"),
        ({"q": order_id}, "payment pi_1", "break 12"),
        ({"q": "break 12"}, "break 12", "payment pi_1"),
    ]
    for query, there, not_there in wanted:
        page = reader.get(LIST, query)
        assert page.status_code == 200, query
        rows = page.content.decode().partition("<tbody>")[2]
        assert there in rows and not_there not in rows, query


def test_not_even_a_superuser_adds_changes_or_deletes_a_row() -> None:
    act = done("refund")
    root = member("root", is_superuser=True)
    for path in ("add/", f"{act.pk}/change/", f"{act.pk}/delete/"):
        assert root.post(f"{LIST}{path}", {"note": "never", "post": "yes"}).status_code == 403, path
    root.post(LIST, {"action": "delete_selected", "_selected_action": [act.pk], "post": "yes"})
    assert StaffAct.objects.get().note == ""


def test_the_list_costs_the_same_however_many_rows_it_shows(django_assert_max_num_queries: Any) -> None:
    reader = member("finance")
    for number in range(30):
        done("refund", subject=f"payment {number}")
    with django_assert_max_num_queries(14):
        assert reader.get(LIST).status_code == 200
