"""Who a request speaks for: a user, or a guest known by a random id in the session."""

from django.http import HttpRequest

from shop.ids import new_id

_SESSION_GUEST = "guest_id"


def guest_id(request: HttpRequest) -> str:
    """The session's guest id, made on first need. It outlives log-in, so that a guest's keys and orders still match
    afterwards (RULES R5), and dies with the session at log-out."""
    if _SESSION_GUEST not in request.session:
        request.session[_SESSION_GUEST] = new_id()
    return str(request.session[_SESSION_GUEST])


def known_guest_id(request: HttpRequest) -> str:
    """The session's guest id, or "" where none was needed so far. Reads only, so a GET makes no session."""
    return str(request.session.get(_SESSION_GUEST, ""))


def principal(request: HttpRequest) -> str:
    """`user:17` or `guest:...`: under what name this request's idempotency keys are kept (DESIGN section 4)."""
    if request.user.is_authenticated:
        return f"user:{request.user.pk}"
    return f"guest:{guest_id(request)}"
