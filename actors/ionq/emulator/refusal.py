"""How the emulator says no: an HTTP status and IonQ's error body. Never leaves the server as an exception."""

from __future__ import annotations

from http import HTTPStatus


class Refusal(Exception):
    """The answer to a request that is refused.

    Attributes:
        status: HTTP status. message: what is wrong, with the offending value and the nearest valid one.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def error_body(status: int, message: str) -> dict[str, object]:
    """``{"error", "message", "statusCode"}``; statuses above 520, which Cloudflare answers with, have no phrase of their own."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown Error"
    return {"error": phrase, "message": message, "statusCode": status}


def bad_request(message: str) -> Refusal:
    """400."""
    return Refusal(400, message)


def not_found(what: str) -> Refusal:
    """404."""
    return Refusal(404, f"{what} not found")
