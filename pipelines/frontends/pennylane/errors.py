"""What the device refuses: a `DeviceError` to PennyLane, an `InputError` to the rest of qfleet."""

from __future__ import annotations

from pennylane.exceptions import DeviceError

from orchestrator.errors import InputError


class QfleetDeviceError(InputError, DeviceError):
    """A tape asks for what the device does not do; the text says what to do instead."""
