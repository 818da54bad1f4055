"""A mail server for tests: it speaks SMTP on a real line, and breaks off, refuses or falls silent at a step."""

import socketserver
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage

BREAK = "break"  # the line is cut
SILENCE = "silence"  # no answer, and the line stays open
_GOOD = {"greeting": "220 ready", "data": "354 go on", "quit": "221 bye"}


class MailServer(socketserver.ThreadingTCPServer):
    """Steps are greeting, ehlo, mail, rcpt, data, text and quit; `does[step]` is BREAK, SILENCE, or what it answers
    instead of yes. `texts` are all that arrived, taken or not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Line)
        self.does: dict[str, str] = {}
        self.texts: list[EmailMessage] = []
        self.has_text = threading.Event()
        self.port: int = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Line(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        goes_on = self.answer("greeting")
        while goes_on and (command := self.rfile.readline().decode().strip()):
            step = command.split()[0].lower()
            goes_on = self.answer(step) and step != "quit"
            if step == "data" and goes_on and self.answered("data").startswith("354"):
                goes_on = self.take_text()

    def take_text(self) -> bool:
        lines = iter(self.rfile.readline, b".\r\n")
        self.server.texts.append(message_from_bytes(b"".join(lines), policy=policy.default))
        self.server.has_text.set()
        return self.answer("text")

    def answered(self, step: str) -> str:
        return self.server.does.get(step) or _GOOD.get(step, "250 yes")

    def answer(self, step: str) -> bool:
        """Whether the line goes on."""
        answer = self.answered(step)
        if answer == SILENCE:
            self.rfile.read()  # until the client is gone
        if answer in (BREAK, SILENCE):
            return False
        self.wfile.write(f"{answer}\r\n".encode())
        return True
