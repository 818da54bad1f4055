"""Stripe's records and ours brought to agree: recovery, the event feed, reconciliation runs, breaks."""
