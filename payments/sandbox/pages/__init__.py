"""What a browser sees: the human page, the bank's challenge, and the stand-in for Stripe.js."""

from __future__ import annotations

from payments.sandbox.gateway import Answer


class Pages:
    def answer(self, method: str, path: str, query: dict[str, str], form: dict[str, str]) -> Answer:
        return Answer(404, "Not found.", {"Content-Type": "text/plain; charset=utf-8"})
