"""The processes behind `make run` and `make test`: set-up, embedded servers, and the one place that runs them all."""


class Refusal(Exception):
    """We cannot go on, and the message is one line that tells a person what to do."""
