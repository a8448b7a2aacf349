"""The calls to IonQ's API v0.4 that qfleet needs, with cirq_ionq's faults left out.

What is cirq_ionq's: where the API is and how it is addressed, the headers, and the calls that it does right (get and cancel a job).
What is not:

- submit: cirq_ionq would parse and write a body of half a megabyte once more, change the caller's metadata, and leave behind which
  kind of job came last in a flag (`batch_mode`) that decides which results URL is asked. A ready body is posted as it is.
- results: asked at the URL of the kind the caller names, put in circuit order, and asked again while they are not there yet.
- listing: an account's pages end at ``next: null``, where cirq_ionq starts over.
- the status of a job is read as raw JSON, where cirq_ionq fails on ``failure: null`` and drops the reason of a failure.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from actors.ionq.api_key import ApiKey
from actors.ionq.clock import Clock, SystemClock
from actors.ionq.endpoint import resolve_endpoint
from actors.ionq.errors import BadAnswerError, NotFoundError, SubmissionUnknownError
from actors.ionq.job_status import JobStatus
from actors.ionq.service import open_service
from actors.ionq.transport import Limits, Transport

NAME_PREFIX = "qfleet-"
TOKEN_KEY = "qfleet_token"
_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")  # safe in a URL and in the book; IonQ's are UUIDs
PAGE_SIZE = 1000  # jobs a page of the listing; sent in the body of the GET, as cirq_ionq does


class IonQClient:
    """A connection to IonQ's API. Safe to use from several threads; cannot be pickled.

    Args:
        host: URL of the API; None: the environment's, else IonQ's cloud.
        allow_cloud: whether a host other than this machine may be asked.
        limits: how long calls may take; None: the defaults of Limits.
        clock: time, for tests and to end every wait when a session closes.
        results_grace: seconds that results may stay missing after their job is completed.
        key: signs the requests; None: the environment's.
        jitter: see `Transport`.

    Raises:
        ConfigError: the host is refused. MissingKeyError: the environment names no key.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        allow_cloud: bool = False,
        limits: Limits | None = None,
        clock: Clock | None = None,
        results_grace: float = 30.0,
        key: ApiKey | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = resolve_endpoint(host, allow_cloud)
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._results_grace = results_grace
        self._transport = Transport(
            key or ApiKey.from_environment(),
            limits,
            self._clock,
            use_environment=not self._endpoint.is_loopback,
            jitter=jitter,
        )
        self.service = open_service(self._endpoint, self._transport)

    @property
    def limits(self) -> Limits:
        """How long calls may take."""
        return self._limits

    def submit(self, body: str | bytes | Mapping[str, Any]) -> str:
        """Post one job, at most once, and return the provider's id of it.

        Args:
            body: the whole body of the POST, as JSON text or ready to become it.

        Raises:
            SubmissionUnknownError: the job may exist; look it up by its token before sending it again.
            SubmissionRefusedError, AuthenticationError, RateLimitedError, UnavailableError: no job was made.
            CircuitError: the body holds NaN, infinity or what is not JSON; nothing was sent.
        """
        content = {"data": body} if isinstance(body, (str, bytes)) else {"json": body}
        answer = self._transport.post(f"{self._url}/jobs", headers=self._headers, **content)
        job_id = answer.body.get("id") if isinstance(answer.body, Mapping) else None
        if not isinstance(job_id, str) or not _ID.fullmatch(job_id):
            raise SubmissionUnknownError(
                "IonQ accepted a job without saying its id", status=answer.status_code
            )
        return job_id

    def job(self, job_id: str) -> JobStatus:
        """How the job stands.

        Raises:
            NotFoundError: there is no such job (or not yet). UnavailableError, BadAnswerError: it could not be learnt.
        """
        return JobStatus.from_json(self.service._client.get_job(job_id), job_id)

    def results(
        self,
        job_id: str,
        is_batch: bool,
        n_circuits: int,
        sharpen: bool | None = None,
        child_ids: Sequence[str] | None = None,
    ) -> list[dict[str, float]]:
        """Outcome probabilities of a completed job, one dict for each circuit, in the order of its circuits.

        The aggregated answer of a batch is a JSON object, whose order means nothing; `child_job_ids` of the job is a list and gives
        the order of the circuits. Where IonQ gives no such list, the object's own order is taken, which is what cirq_ionq relies on.

        Args:
            job_id: a completed job.
            is_batch: whether it was submitted as a multi-circuit job.
            n_circuits: how many circuits it has.
            sharpen: how error-mitigated results are put together; None: IonQ's default.
            child_ids: the job's `child_ids` if already known; else they are asked for.

        Returns:
            ``{decimal key: probability}``, where bit i of the key is qubit i: `actors/ionq/outcomes.py` takes it from there.

        Raises:
            JobFailedError, JobRejectedError, JobCanceledError: a circuit of the batch has failed.
            BadAnswerError: they did not come within `results_grace`, or are not probabilities of these circuits.
        """
        if is_batch and not child_ids:
            child_ids = self.job(job_id).child_ids
        path = "results/probabilities" + ("/aggregated" if is_batch else "")
        deadline = self._clock.now() + self._results_grace
        delay = self._limits.first_delay
        while True:
            answer = self._results_or_none(f"{self._url}/jobs/{job_id}/{path}", sharpen)
            answers = _in_order(answer, is_batch, child_ids or ())
            if answers is not None and all(answers) and len(answers) == n_circuits:
                return [_probabilities(each, job_id) for each in answers]
            if self._clock.now() + delay > deadline:
                self._raise_for_missing(job_id, answer, child_ids or (), n_circuits)
            self._clock.sleep(delay)
            delay = min(2 * delay, self._limits.max_delay)

    def find(self, token: str) -> str | None:
        """The provider's id of the job that was submitted under `token`, or None if the account lists none.

        Raises:
            UnavailableError, BadAnswerError: the list could not be read to its end, so nothing is known.
        """
        for raw in self._listing():
            metadata = raw.get("metadata")
            found = metadata.get(TOKEN_KEY) if isinstance(metadata, Mapping) else None
            # The circuits of a batch are listed as jobs too, and may carry their parent's name.
            if not raw.get("parent_job_id") and (raw.get("name") == NAME_PREFIX + token or found == token):
                return JobStatus.from_json(raw, None).job_id
        return None

    def cancel(self, job_id: str) -> None:
        """Ask IonQ to cancel the job. A completed job is not charged less for it."""
        self.service._client.cancel_job(job_id)

    def cost(self, job_id: str) -> float | None:
        """What the job was charged in US dollars; None while IonQ has no figure."""
        answer = self._get(f"/jobs/{job_id}/cost")
        return _dollars(answer.get("cost"), job_id)

    def estimate(
        self,
        target: str,
        *,
        n_qubits: int,
        n_1q: int,
        n_2q: int,
        shots: int,
        is_mitigated: bool = False,
        kind: str = "ionq.circuit.v1",
    ) -> float:
        """What IonQ expects a circuit with these billing gate counts to cost, in US dollars."""
        parameters = {
            "backend": target,
            "type": kind,
            "qubits": n_qubits,
            "shots": shots,
            "1q_gates": n_1q,
            "2q_gates": n_2q,
            "error_mitigation": "true" if is_mitigated else "false",
        }
        answer = self._get("/jobs/estimate", parameters)
        value = {"value": answer.get("estimated_cost"), "unit": answer.get("cost_unit", "usd")}
        dollars = _dollars(value, None)
        if dollars is None:
            raise BadAnswerError("IonQ estimates no cost")
        return dollars

    def backends(self) -> list[dict[str, Any]]:
        """IonQ's backends as the API lists them, with `backend`, `status`, `qubits` and more."""
        answer = self._transport.get(f"{self._url}/backends", headers=self._headers).body
        if not isinstance(answer, list):
            raise BadAnswerError("IonQ lists its backends in an unknown form")
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __repr__(self) -> str:
        return f"IonQClient({self._endpoint.url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an IonQClient holds the API key and open connections: make one where it is needed")

    @property
    def _url(self) -> str:
        return str(self.service._client.url)

    @property
    def _headers(self) -> dict[str, str]:
        return dict(self.service._client.headers)

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        answer = self._transport.get(f"{self._url}{path}", headers=self._headers, params=parameters).body
        if not isinstance(answer, Mapping):
            raise BadAnswerError(f"IonQ's answer to {path} is no JSON object")
        return answer

    def _listing(self) -> Iterator[Mapping[str, Any]]:
        """Every job of the account, page by page."""
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            page = self._transport.get(
                f"{self._url}/jobs",
                headers=self._headers,
                json={"limit": PAGE_SIZE},
                params=None if cursor is None else {"next": cursor},
            ).body
            jobs = page.get("jobs") if isinstance(page, Mapping) else None
            if not isinstance(jobs, list) or not all(isinstance(each, Mapping) for each in jobs):
                raise BadAnswerError("IonQ's job list has an unknown form")
            yield from jobs
            cursor = page.get("next")
            if not cursor:
                return
            if cursor in seen:
                raise BadAnswerError("IonQ's job list goes round in a circle")
            seen.add(cursor)

    def _results_or_none(self, url: str, sharpen: bool | None) -> Mapping[str, Any] | None:
        """The raw results, or None while there are none."""
        parameters = None if sharpen is None else {"sharpen": sharpen}
        try:
            answer = self._transport.get(url, headers=self._headers, params=parameters).body
        except NotFoundError:
            return None
        return answer if isinstance(answer, Mapping) and answer else None

    def _raise_for_missing(
        self, job_id: str, answer: Mapping[str, Any] | None, child_ids: Sequence[str], n_circuits: int
    ) -> NoReturn:
        """Say why results are not complete: a circuit that failed, or an answer that does not fit."""
        if answer is None:
            raise BadAnswerError("IonQ calls a job completed but has no results of it", job_id=job_id)
        for child_id in child_ids:
            if not answer.get(child_id):
                self.job(child_id).raise_if_unsuccessful()
        raise BadAnswerError(
            f"IonQ has results of {len(answer)} circuits in a job of {n_circuits}", job_id=job_id
        )


def _in_order(answer: Mapping[str, Any] | None, is_batch: bool, child_ids: Sequence[str]) -> list[Any] | None:
    """The answer of each circuit in the order of the circuits, or None if some are missing."""
    if answer is None or not is_batch:
        return None if answer is None else [answer]
    if not child_ids:
        return list(answer.values())
    if set(child_ids) != set(answer):
        return None
    return [answer[child_id] for child_id in child_ids]


def _probabilities(answer: Any, job_id: str) -> dict[str, float]:
    """`answer` if it has the form of outcome probabilities; whether they sum to one is for whoever converts them."""
    try:
        is_sound = "".join(answer).isdecimal() and min(answer.values()) >= 0
        is_sound = is_sound and math.isfinite(math.fsum(answer.values()))  # NaN included
    except (TypeError, AttributeError, ValueError, OverflowError):
        is_sound = False
    if not is_sound:
        raise BadAnswerError("IonQ's results are not outcome probabilities", job_id=job_id)
    return dict(answer)


def _dollars(amount: Any, job_id: str | None) -> float | None:
    """The value of ``{"value", "unit"}`` in US dollars."""
    if not isinstance(amount, Mapping) or amount.get("value") is None:
        return None
    value, unit = amount["value"], str(amount.get("unit", "usd"))
    if unit.lower() != "usd":
        raise BadAnswerError(f"IonQ counts the cost in {unit!r}, not in US dollars", job_id=job_id)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadAnswerError("IonQ's figure of the cost is no number", job_id=job_id)
    return float(value)
