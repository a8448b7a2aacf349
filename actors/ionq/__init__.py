"""IonQ's cloud: everything that knows its API, and the only room that imports its client.

::

    Job ─► session ─► templates, body      circuits as JSON, each angle in its slot
              │
              ▼
          submission ◄──► book             reserve, submitted, completed: on disk before and after every step that costs money
              │
              ▼
            client ─► service, transport   the real cirq_ionq, its requests on a transport that never repeats a POST blindly
              │
              ▼
           outcomes                        little-endian decimals to probabilities and expectation values

What was paid for is read again by `record` and `recorded_circuits`, without a client, for `actors/backends/recorded.py`.
Errors are those of `errors`: typed, picklable, with IonQ's code and message, never a request's body. `emulator/` answers the same API.
"""
