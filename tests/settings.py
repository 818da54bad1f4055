"""The shop's own settings, with the few things that only tests want. tests.conftest sets the environment first."""

import os

from shop.settings import *  # noqa: F403

# A thread that writes now and then: on where a test asks for it.
DUPLICATES_KEPT_BY = "payments.monitoring.blocked_requests.keep" if os.environ.get("KEEP_DUPLICATES") else ""
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # speed: tests log in often
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
