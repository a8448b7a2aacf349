"""HTTP under the IonQ client: one answer or one typed error to each call, within a bounded time.

cirq_ionq asks again after any failure, a POST included, without timeouts and without reading Retry-After. Here

- a call that may be repeated (GET, PUT, DELETE) is repeated with growing delays, or as Retry-After says, until `Limits.total`;
- a POST is repeated only where it was provably not accepted: no connection came about, or IonQ refused it for its rate (429).
  When its outcome is unknown a SubmissionUnknownError says so. That is no requests.RequestException, so cirq_ionq lets it pass;
- connections are kept alive, one session for each thread, and redirects are not followed: they would repeat a POST.
"""

from __future__ import annotations

import json
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import requests
from urllib3.exceptions import HTTPError

from actors.ionq.api_key import ApiKey
from actors.ionq.clock import Clock, SystemClock
from actors.ionq.exchange import Exchange, answered, error_of, may_repeat, unanswered
from orchestrator.errors import CircuitError

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """How long a call may take, all in seconds.

    Attributes:
        connect: to open a connection, and to hand over each part of a request.
        read: of silence while waiting for an answer; also, a body must be complete this long after its headers.
        total: no attempt begins later than this after the first, so that a call ends within total + connect + 2 read
            (a server that sent its headers byte by byte could make it longer).
        first_delay: before the first repetition; later ones double it.
        max_delay: where the doubling ends.
        max_retry_after: the longest that one Retry-After is obeyed.
    """

    connect: float = 10.0
    read: float = 30.0
    total: float = 120.0
    first_delay: float = 0.05
    max_delay: float = 2.0
    max_retry_after: float = 60.0

    @property
    def longest_call(self) -> float:
        """What a call can take in all."""
        return self.total + self.connect + 2 * self.read


@dataclass(frozen=True)
class Answer:
    """The JSON of a successful call; has what cirq_ionq reads of a requests.Response."""

    status_code: int
    body: Any
    ok: bool = True

    def json(self) -> Any:
        """The parsed body."""
        return self.body


class Transport:
    """Sends requests, signed with the API key. Safe to use from several threads; cannot be pickled.

    Args:
        key: signs every request.
        limits: how long calls may take; None: the defaults of Limits.
        clock: time, and the end of all waiting.
        use_environment: whether the environment's proxies and certificates count; never for this machine, which no proxy reaches.
        jitter: a number in [0, 1) for each delay, so that many actors refused together do not come back together.
    """

    def __init__(
        self,
        key: ApiKey,
        limits: Limits | None = None,
        clock: Clock | None = None,
        use_environment: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._key = key
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._use_environment = use_environment
        self._jitter = jitter
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()

    def get(self, url: str, **content: Any) -> Answer:
        """GET, repeated while that may help. Arguments as for `requests.get`: headers, params, json.

        Raises:
            IonQError: what became of it.
        """
        return self._call("GET", url, **content)

    def put(self, url: str, **content: Any) -> Answer:
        """PUT, which may be repeated: doing it twice is doing it once."""
        return self._call("PUT", url, **content)

    def delete(self, url: str, **content: Any) -> Answer:
        """DELETE, which may be repeated."""
        return self._call("DELETE", url, **content)

    def post(self, url: str, **content: Any) -> Answer:
        """POST, sent again only where it was provably not accepted.

        Raises:
            SubmissionUnknownError: it may have been accepted; look for it before sending it again.
            SubmissionRefusedError, AuthenticationError, RateLimitedError, UnavailableError: it was not accepted.
            CircuitError: it holds NaN, infinity or what is not JSON; nothing was sent.
        """
        return self._call("POST", url, **content)

    def close(self) -> None:
        """Close every thread's connections."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def __repr__(self) -> str:
        return f"Transport(key={self._key!r}, limits={self._limits!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Transport holds the API key and open connections: make one where it is needed")

    def _call(self, method: str, url: str, **content: Any) -> Answer:
        request = _request(method, url, **content)
        deadline = self._clock.now() + self._limits.total
        for delay in self._delays():
            exchange = self._attempt(request)
            if not exchange.problem:
                assert exchange.status is not None
                return Answer(exchange.status, exchange.body)
            if exchange.is_final or not may_repeat(method, exchange):
                break
            pause = max(delay, min(exchange.retry_after or 0.0, self._limits.max_retry_after))
            if self._clock.now() + pause > deadline:
                break
            self._clock.sleep(pause)
        raise error_of(method, exchange)

    def _delays(self) -> Iterator[float]:
        """Between half and all of first_delay, 2 first_delay, 4 first_delay, ..., at most max_delay."""
        delay = self._limits.first_delay
        while True:
            yield delay * (1 + self._jitter()) / 2
            delay = min(2 * delay, self._limits.max_delay)

    def _attempt(self, request: requests.Request) -> Exchange:
        session = self._session()
        settings = session.merge_environment_settings(str(request.url), {}, True, None, None)
        try:
            with session.send(
                session.prepare_request(request),
                timeout=(self._limits.connect, self._limits.read),
                allow_redirects=False,
                **settings,
            ) as response:
                body = self._body(response)
                return answered(response, body)
        except requests.exceptions.RequestException as error:
            return unanswered(error)
        except (HTTPError, OSError) as error:  # while the body was read, below requests
            return Exchange(f"the answer broke off ({type(error).__name__})")

    def _body(self, response: requests.Response) -> bytes:
        """The whole body, without the key should a server quote it; TimeoutError when it trickles in for longer than `read`."""
        deadline = time.monotonic() + self._limits.read  # a socket's time, which no test clock turns
        chunks = []
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            chunks.append(chunk)
            if time.monotonic() > deadline:
                raise TimeoutError
        return self._key.masked(b"".join(chunks))

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _Session()
            session.trust_env = self._use_environment
            session.auth = self._key
            self._local.session = session
            with self._lock:
                self._sessions.add(session)
        return session


class _Session(requests.Session):
    """A session that is not pickled: it could be, with the key in it."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("an HTTP session holds the API key: make one where it is needed")


def _request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    json: Any = None,  # the name in requests
    data: str | bytes | None = None,
    params: Mapping[str, Any] | None = None,
) -> requests.Request:
    """A request whose body is encoded once for all attempts."""
    body = _encoded(json) if json is not None else data
    if isinstance(body, str):
        body = body.encode()
    return requests.Request(method, url, headers=dict(headers), data=body, params=params)


def _encoded(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise CircuitError(
            f"a request to IonQ cannot be written as JSON: {error}; angles must be finite Python floats or float64"
        ) from None
