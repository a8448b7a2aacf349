"""The real cirq_ionq.Service with our transport under it.

cirq_ionq calls ``requests.post`` and its like by module name, on a new connection each time. Rather than patch that module for the
whole process, a private second instance of it is loaded, in which the name `requests` stands for the transport.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType, SimpleNamespace

import cirq_ionq
import requests

from actors.ionq.endpoint import Endpoint
from actors.ionq.transport import Transport

# What cirq_ionq is given for a key. The transport signs the requests, so that no object of cirq_ionq holds the real one.
NO_KEY = "held-by-the-transport"


def open_service(endpoint: Endpoint, transport: Transport) -> cirq_ionq.Service:
    """A Service all of whose requests go to `endpoint` through `transport`, which alone repeats them."""
    service = cirq_ionq.Service(remote_host=endpoint.url, api_key=NO_KEY, max_retry_seconds=0)
    service._client = _client_module(transport)._IonQClient(
        remote_host=endpoint.url, api_key=NO_KEY, max_retry_seconds=0
    )
    return service


def _client_module(transport: Transport) -> ModuleType:
    spec = importlib.util.find_spec("cirq_ionq.ionq_client")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["requests"] = SimpleNamespace(
        get=transport.get,
        post=transport.post,
        put=transport.put,
        delete=transport.delete,
        codes=requests.codes,
        RequestException=requests.RequestException,
    )
    return module
