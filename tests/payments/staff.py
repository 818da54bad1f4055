"""A clerk at the staff desk, for tests: a browser that is logged in, and the forms that its pages show."""

import html
import re
import threading
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse

SEES = ("payments.view_payment", "orders.view_order", "payments.view_break", "payments.view_webhookevent")


def clerk(name: str, *permissions: str, **client: Any) -> Client:
    """A browser of a member of staff who may do this, and look at payments."""
    user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True})
    for permission in (*SEES, *permissions):
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    browser = Client(headers={"User-Agent": "a browser"}, **client)
    browser.force_login(user)
    return browser


def address(page: str, *parts: object) -> str:
    return reverse(f"desk:{page}", args=parts)


def fields_in(answer: Any) -> dict[str, str]:
    """What the hidden fields of the page's first form of an act hold, its token aside."""
    page = answer.content.decode()
    form = page[page.index("data-once") :]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[: form.index("</form>")])
    return {name: html.unescape(worth) for name, worth in found if name != "csrfmiddlewaretoken"}


def shown(browser: Client, path: str) -> dict[str, str]:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.content.decode()
    return fields_in(answer)


def said(answer: Any) -> str:
    """The messages that wait for the next page."""
    return " ".join(str(one) for one in answer.wsgi_request._messages)


def words(answer: Any) -> str:
    text = re.sub(r"<[^>]+>", " ", answer.content.decode())
    return html.unescape(" ".join(text.split()))


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """All of them at one moment, each in a thread of its own; what each came to."""
    start, answers = threading.Barrier(len(acts)), [None] * len(acts)

    def do(place: int, act: Callable[[], Any]) -> None:
        start.wait()
        try:
            answers[place] = act()
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=one) for one in enumerate(acts)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return answers
