"""A local Stripe: its own process, importing nothing of the shop.

It is spoken to only through the official `stripe` package (form encoding, API version 2026-10-28.endive) and through
webhooks, and it is as strict as Stripe. It never saves a careless shop: asked properly twice, it charges twice.

    __main__.py       options and start
    server.py         the HTTP edge: connections, and the faults that live on the wire
    gateway.py        one API call: key, version, idempotency, rule, execution, answer
    endpoints.py      the table of Stripe's endpoints and the parameters each one takes
    intents.py        the status machine of a PaymentIntent; charges.py makes charges
    refunds.py        money back, in parts, later or not at all; balance.py: what it does to the balance
    disputes.py       the shopper's bank takes the money back, or asks first
    appointments.py   what the bank does later, of itself
    account.py        all state, and the transaction that writes a change to the book before anyone hears of it
    book.py           the append-only, fsynced file from which the state is rebuilt
    idempotency.py    Stripe's idempotency layer
    faults.py         rules that lose, delay or spoil answers
    webhooks.py       signed deliveries with retries
    bulk.py           succeeded payments by the hundred thousand, as rows
    search.py         which sees everything as it was a minute ago (freshness.py); customers.py
    clock.py          its time, which can be moved forward
    control.py        /_sandbox/*: the switches, with verdict.py, dashboard.py and bank.py
    pages/            the human page and the stand-in for Stripe.js
"""

API_VERSION = "2026-10-28.endive"
