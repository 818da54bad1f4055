"""A shopper's account: register, log in, log out, a new password. The user's name is the e-mail address.

Logging in keeps what the guest had: the hooks in settings.AT_LOG_IN merge the cart and adopt the orders.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, login, logout, password_validation, views
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render, resolve_url
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from shop.guests import known_guest_id
from shop.log_in_limits import forget_failures
from shop.pages import SeeOther, next_of, personal

View = Callable[..., HttpResponseBase]

_BACKEND = "django.contrib.auth.backends.ModelBackend"


class LogInForm(AuthenticationForm):
    """Django's form: one answer, and as much work, for an unknown e-mail as for a wrong password (SECURITY SE36)."""

    error_messages = {
        "invalid_login": "This e-mail address and password do not belong together. Please try again.",
        "inactive": "This account is closed.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        email = self.fields["username"]
        email.label = "E-mail address"
        email.widget = forms.EmailInput(attrs={"autocomplete": "username", "maxlength": 254})
        for field in self.fields.values():
            field.error_messages["required"] = f"Please enter your {str(field.label).lower()}."

    def clean_username(self) -> str:
        return str(self.cleaned_data["username"]).lower()


class RegisterForm(forms.Form):
    """An e-mail address and one password: nothing to repeat, because a browser can show what was typed (UX1)."""

    email = forms.EmailField(
        label="E-mail address",
        max_length=150,
        widget=forms.EmailInput(attrs={"autocomplete": "username"}),
        error_messages={"required": "Please enter your e-mail address.", "invalid": "Please check the e-mail address."},
    )
    password = forms.CharField(
        label="Password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 10 characters. A few words in a row are easy to remember.",
        error_messages={"required": "Please choose a password."},
    )

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        email = self.cleaned_data.get("email", "")
        password_validation.validate_password(password, User(username=email, email=email))
        return password

    def register(self) -> User | None:
        """The new user, or None where the e-mail address has an account already: the unique name decides."""
        email = self.cleaned_data["email"]
        try:
            with transaction.atomic():
                return get_user_model().objects.create_user(email, email, self.cleaned_data["password"])
        except IntegrityError:
            self.add_error(
                "email",
                "We could not open an account with this e-mail address."
                " If it is yours, log in or ask for a new password.",
            )
            return None


@require_http_methods(["GET", "HEAD", "POST"])
@personal
@sensitive_post_parameters("password")
def log_in(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return SeeOther(_next(request))
    form = LogInForm(request, request.POST or None)
    if request.method == "POST" and form.is_valid():
        _enter(request, form.get_user())
        return SeeOther(_next(request))
    return _form_page(request, "account/log_in.html", form)


@require_http_methods(["GET", "HEAD", "POST"])
@personal
@sensitive_post_parameters("password")
def register(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return SeeOther(_next(request))
    form = RegisterForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (user := form.register()):
        _enter(request, user)
        messages.success(request, "Welcome. Your account is open.")
        return SeeOther(_next(request))
    return _form_page(request, "account/register.html", form)


@require_POST
@personal
def log_out(request: HttpRequest) -> HttpResponse:
    """The session ends with all that it held: cart, guest id, CSRF token."""
    logout(request)
    messages.success(request, "You are logged out.")
    return SeeOther(reverse("home"))


def _enter(request: HttpRequest, user: Any) -> None:
    """Log in. The hooks come first: if one fails, the guest still has the session that it knows, and tries again."""
    guest_id = known_guest_id(request)
    for path in settings.AT_LOG_IN:
        import_string(path)(request, user, guest_id)
    login(request, user, backend=_BACKEND)  # a new session id; the old one is dead (SECURITY SE6)


def _next(request: HttpRequest) -> str:
    return next_of(request, resolve_url(settings.LOGIN_REDIRECT_URL))


def _form_page(request: HttpRequest, template: str, form: forms.Form) -> HttpResponse:
    next_target = request.POST.get("next") or request.GET.get("next") or ""
    status = 422 if form.is_bound else 200
    return render(request, template, {"form": form, "next": next_target}, status=status)


# --- A new password: Django's views, our pages ----------------------------------------------------------------------


def _ends_in_see_other(view: View) -> View:
    """Django's form views answer a post with 302; ours with 303 (RULES R46)."""

    @wraps(view)
    def with_see_other(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if request.method == "POST" and response.status_code == 302:
            response.status_code = 303
        return response

    return with_see_other


_form_view: list[Callable[[View], View]] = [personal, _ends_in_see_other]


@method_decorator(_form_view, name="dispatch")
class PasswordResetView(views.PasswordResetView):
    """Asks for an e-mail address. Known or not, the answer is the same."""

    template_name = "account/password_reset.html"
    email_template_name = "account/password_reset_mail.txt"
    subject_template_name = "account/password_reset_subject.txt"
    success_url = reverse_lazy("password-reset-sent")
    # The Host header is the visitor's to choose; the link in the mail must be ours.
    extra_email_context = {"base_url": settings.BASE_URL}


@method_decorator(_form_view, name="dispatch")
class PasswordResetSentView(views.PasswordResetDoneView):
    template_name = "account/password_reset_sent.html"


@method_decorator(_form_view, name="dispatch")
class NewPasswordView(views.PasswordResetConfirmView):
    """The link in the mail. Django moves its token into the session and shows a clean address."""

    template_name = "account/new_password.html"
    success_url = reverse_lazy("log-in")

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Your new password is set. Please log in with it.")
        forget_failures(form.user)  # who owns the mailbox may log in now, however often the old one was guessed
        return super().form_valid(form)
