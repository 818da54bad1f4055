"""Change a session beside other tabs that use it at the same moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest


@contextmanager
def whole_session(request: HttpRequest) -> Iterator[None]:
    """What the block writes into the session is there afterwards, and so is what another request wrote meanwhile.

    A session is saved whole and the last one to save wins. So the block runs under the lock of the session's row,
    after another look at it, and the session is saved before the lock is given back. A session without a row, new or
    just logged out, is left to Django, which makes one or says so.
    """
    request.session.keys()  # loaded, so that a session that is over counts as none, even while its row is there
    with transaction.atomic():
        key = request.session.session_key
        has_row = bool(key) and Session.objects.select_for_update().filter(pk=key).exists()
        if has_row:
            request.session.update(dict(type(request.session)(key).items()))
        yield
        if has_row:
            request.session.save()
            request.session.modified = False  # saved: not once more at the end, over what came after
