"""The API key: read from the environment, put into requests, and kept out of everything else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NoReturn

import requests
from requests.auth import AuthBase

from actors.ionq.errors import KEY_VARIABLES, MissingKeyError


class ApiKey(AuthBase):
    """Signs requests with IonQ's API key.

    As the `auth` of a session it also outranks a ~/.netrc entry, which requests would otherwise let replace the header.
    It cannot be pickled and shows itself as ``***``.
    """

    def __init__(self, value: str) -> None:
        # http.client would refuse such a key in an error that quotes it.
        if not value or not value.isascii() or any(c.isspace() or not c.isprintable() for c in value):
            raise MissingKeyError(
                "the IonQ API key is empty or holds blanks or characters that no HTTP header takes"
            )
        self._value = value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ApiKey:
        """The key that the environment names.

        Raises:
            MissingKeyError: there is none, or it cannot be a key.
        """
        variables = os.environ if environment is None else environment
        for name in KEY_VARIABLES:
            if variables.get(name, "").strip():
                return cls(variables[name].strip())
        raise MissingKeyError("IonQ asks for an API key and none is set")

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign `request`."""
        request.headers["Authorization"] = f"apiKey {self._value}"
        return request

    def masked(self, text: bytes) -> bytes:
        """`text` without the key."""
        return text.replace(self._value.encode(), b"***")

    def __repr__(self) -> str:
        return "ApiKey(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the IonQ API key never leaves its process: every actor reads its own environment")
