"""The body of POST /jobs, as text, to its document and the texts of its circuits.

The circuits are most of a large body, and `circuits.CircuitReader` reads them as text: so they are cut out of it where it looks as clients
write it, and otherwise the whole body is parsed and the circuits written again. Both ways give the same.
"""

from __future__ import annotations

import json
import re
from typing import Any

from actors.ionq.emulator.circuits import refuse_constant
from actors.ionq.emulator.refusal import bad_request

_BEGIN = re.compile(r'"circuits"\s*:\s*\[\s*(?=\{)')
_END = re.compile(r"\}\s*\]\s*\}\s*\]")


def read_body(text: str) -> tuple[dict[str, Any], list[str]]:
    """(the document without its circuits, the JSON object of each circuit).

    Raises:
        Refusal: it is not JSON, or not an object.
    """
    return _cut(text) or _parsed(text)


def _cut(text: str) -> tuple[dict[str, Any], list[str]] | None:
    """The circuits cut out of `text`; None if it is not made as expected."""
    begin = _BEGIN.search(text)
    if begin is None:
        return None
    [head, *bodies] = text[begin.end() :].split('"circuit"')
    end = _END.search(bodies[-1]) if bodies else None
    if end is None or head.strip() != "{":
        return None
    circuits = []
    for body in bodies[:-1]:  # of each: ': [...]}, {'
        written = body.rstrip()
        before = written[:-1].rstrip()
        if written[-1:] != "{" or before[-1:] != ",":
            return None
        circuits.append('{"circuit"' + before[:-1])
    circuits.append('{"circuit"' + bodies[-1][: end.end() - 1])
    rest = text[: begin.end()] + bodies[-1][end.end() - 1 :]
    try:
        document = json.loads(rest, parse_constant=refuse_constant)
    except ValueError:
        return None
    where = document.get("input") if isinstance(document, dict) else None
    if not isinstance(where, dict) or where.get("circuits") != []:
        return None
    return document, circuits


def _parsed(text: str) -> tuple[dict[str, Any], list[str]]:
    try:
        document = json.loads(text, parse_constant=refuse_constant)
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise bad_request(f"the body is {type(document).__name__}, not an object")
    where = document.get("input")
    if not isinstance(where, dict):
        return document, []
    circuits = where.get("circuits")
    if isinstance(circuits, list):
        where["circuits"] = []
    elif "circuit" in where:
        circuits = [{"circuit": where["circuit"]}]
        where["circuit"] = []
    return document, [json.dumps(circuit) for circuit in circuits or []]
