"""One attempt of a call to IonQ: what is known of it afterwards, whether it may be repeated, and the error that it ends in."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import requests
from urllib3.exceptions import NewConnectionError

from actors.ionq.errors import (
    AuthenticationError,
    BadAnswerError,
    IonQError,
    NotFoundError,
    RateLimitedError,
    RequestRefusedError,
    SubmissionRefusedError,
    SubmissionUnknownError,
    UnavailableError,
)

PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 530)})
# A POST answered by one of these was read and not accepted. Any other refusal may come from a proxy that gave up waiting for an
# answer to a request which it had passed on (408, 409 is Cloudflare's for a name it cannot resolve, 5xx).
REFUSED_POST = frozenset({400, 401, 402, 403, 404, 405, 406, 410, 411, 413, 414, 415, 422, 429, 431})


@dataclass(frozen=True)
class Exchange:
    """One attempt of a call and what is known of it.

    Attributes:
        problem: what went wrong, in words; empty if nothing.
        may_be_sent: False where provably no byte of the request reached the server.
        status: HTTP status of a whole answer; None without one.
        body: its parsed JSON; None if it was none.
        retry_after: seconds that the server asked for.
        is_final: no other attempt will fare better.
    """

    problem: str
    may_be_sent: bool = True
    status: int | None = None
    body: Any = None
    retry_after: float | None = None
    is_final: bool = False


def _parsed(content: bytes) -> Any:
    """The JSON in `content`; None if it is none. NaN, which orjson does not take, is for whoever knows what the number should be."""
    try:
        return orjson.loads(content)
    except ValueError:
        pass
    try:
        return json.loads(content)
    except ValueError:  # UnicodeDecodeError is one
        return None


def answered(response: requests.Response, content: bytes) -> Exchange:
    """What a whole answer with the body `content` says."""
    status = response.status_code
    body = _parsed(content)
    if 200 <= status < 300:
        problem = "" if body is not None else "the body is not JSON"
    elif 300 <= status < 400:
        problem = "a redirect, which is not followed"
    else:
        problem = f"HTTP {status}"
    return Exchange(
        problem,
        True,
        status,
        body,
        retry_after_seconds(response.headers.get("Retry-After")),
        300 <= status < 400,
    )


def unanswered(error: requests.exceptions.RequestException) -> Exchange:
    """What an attempt without an answer leaves known. The error's text is dropped: it can hold what was sent."""
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)  # of urllib3's MaxRetryError
    if isinstance(error, requests.exceptions.SSLError) and any(
        isinstance(each, ssl.SSLCertVerificationError) for each in getattr(reason, "args", ())
    ):
        return Exchange("its certificate is not trusted", may_be_sent=False, is_final=True)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Exchange("no connection in time", may_be_sent=False)
    if isinstance(reason, NewConnectionError):
        return Exchange("no connection", may_be_sent=False)
    if isinstance(error, requests.exceptions.Timeout):
        return Exchange("no answer in time")
    return Exchange(f"the connection was lost ({type(error).__name__})")


def may_repeat(method: str, exchange: Exchange) -> bool:
    """Whether another attempt may help and can do no harm."""
    if not exchange.may_be_sent or exchange.status == 429:
        return True
    if method == "POST":
        return False
    # A success whose body is no JSON is a proxy's page, or a body cut short
    return _is_passing(method, exchange.status) or (exchange.status or 0) < 300


def error_of(method: str, exchange: Exchange) -> IonQError:
    """The typed error of a call that ended with `exchange`."""
    code, message = _explanation(exchange.body)
    is_post, status = method == "POST", exchange.status
    kind: type[IonQError]
    if status == 429:
        kind, problem = RateLimitedError, "IonQ refused requests for coming too fast"
    elif not exchange.may_be_sent:
        kind, problem = UnavailableError, f"IonQ cannot be reached: {exchange.problem}"
    elif status == 401:
        kind, problem = AuthenticationError, "IonQ does not accept the API key"
    elif is_post and status not in REFUSED_POST:
        kind, problem = SubmissionUnknownError, f"whether IonQ took a job is unknown: {exchange.problem}"
    elif is_post:
        kind, problem = SubmissionRefusedError, "IonQ refused a job"
    elif status is None or _is_passing(method, status):
        kind, problem = UnavailableError, f"IonQ gave no answer: {exchange.problem}"
    elif status == 404:
        kind, problem = NotFoundError, "IonQ does not know what was asked for"
    elif 400 <= status < 500:
        kind, problem = RequestRefusedError, "IonQ refused a request"
    else:
        kind, problem = BadAnswerError, f"IonQ's answer is of no use: {exchange.problem}"
    return kind(problem, code, message, status, None, exchange.retry_after)


def retry_after_seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3); None if it is neither."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(seconds, 0.0) if seconds == seconds else None


def _is_passing(method: str, status: int | None) -> bool:
    """Whether another moment may bring another answer to a call that may be repeated; None: there was no answer."""
    # 409: see REFUSED_POST
    return status is None or status in PASSING_STATUSES or (method == "GET" and status == 409)


def _explanation(body: Any) -> tuple[str | None, str | None]:
    """`error` and `message` of IonQ's error body ``{"error", "message", "statusCode"}``."""
    if not isinstance(body, Mapping):
        return None, None
    code, message = body.get("error"), body.get("message")
    return (str(code) if code else None), (str(message) if message else None)
