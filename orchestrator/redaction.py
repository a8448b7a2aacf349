"""How credentials are kept out of every text: errors, logs, files, tags."""

from __future__ import annotations

import re
from urllib.parse import unquote

# Up to the last @ of the word: a password may hold an @ or a / itself. Masking too much is the safe side.
_USERINFO = re.compile(r"(?<=://)[^\s'\"<>]+@")
_QUERY_SECRET = re.compile(
    r"([?&;](?:\w*(?:password|passwd|pwd|token|secret|api_?key|credential)\w*)=)[^&;\s'\"]*", re.I
)


class Redactor:
    """Takes credentials out of any text: those of the given URIs wherever they occur, and of every URI by its form.

    >>> Redactor("https://ann:hunter2@host/x")("cannot reach https://ann:hunter2@host/x, hunter2")
    'cannot reach https://***@host/x, ***'
    """

    def __init__(self, *uris: str | None) -> None:
        found: set[str] = set()
        for uri in uris:
            for userinfo in re.findall(r"://([^\s'\"<>]+)@", uri or ""):
                found |= {userinfo, unquote(userinfo)}
                found |= {part for text in (userinfo, unquote(userinfo)) for part in text.split(":", 1)[1:]}
            for match in _QUERY_SECRET.finditer(uri or ""):
                found.add(match.group(0).removeprefix(match.group(1)))
        # A very short one would blot out parts of ordinary words; its URI is still masked by form.
        self.secrets = tuple(sorted((each for each in found if len(each) >= 4), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """`text` without them."""
        text = redact_uri(text)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    @property
    def mask(self) -> tuple[bytes, ...]:
        """The same as bytes, for files."""
        return tuple(secret.encode() for secret in self.secrets)


def redact_uri(text: str) -> str:
    """`text` with ``user:password@`` of every URI, and passwords and tokens of queries, replaced by ``***``."""
    return _QUERY_SECRET.sub(r"\1***", _USERINFO.sub("***@", text))
