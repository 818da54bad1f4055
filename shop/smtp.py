"""Django's SMTP backend, which also knows whether the text of a mail has begun to leave.

What fails before that has certainly not gone out. After that nobody knows until the server has answered.
"""

import smtplib
from typing import Any

from django.core.mail.backends import smtp


class _Telling(smtplib.SMTP):
    text_has_begun = False

    def send(self, s: Any) -> None:
        """smtplib sends commands as `str`, and as `bytes` only the text, once the server has said that it wants it."""
        if isinstance(s, bytes):
            self.text_has_begun = True
        super().send(s)


class _TellingSSL(_Telling, smtplib.SMTP_SSL):
    pass


class EmailBackend(smtp.EmailBackend):
    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return _TellingSSL if self.use_ssl else _Telling

    @property
    def text_has_begun(self) -> bool:
        """In doubt, yes."""
        return getattr(self.connection, "text_has_begun", True)
