"""An answer, and what may become of it on the wire."""

from dataclasses import dataclass, field


@dataclass
class Answer:
    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    wire: str | None = None  # reset, hang or drip: what the connection does with this answer
    seconds: float = 0.0
