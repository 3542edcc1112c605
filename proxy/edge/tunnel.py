"""Two sockets joined. Law: bytes are copied and never read: frames, masks and codes stay as sent.

After a 101 both sides speak their own protocol (WebSocket), so re-framing it could only change
it. Back-pressure is the sockets' own: who cannot be written to stops the other from being read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

_HIGH_WATER: Final = 256 * 1024
_FLUSH: Final = 10.0


@dataclass(frozen=True, slots=True)
class Side:
    """A socket, the protocol that had it so far, and what was read too far already."""

    transport: asyncio.Transport
    before: asyncio.Protocol
    early: bytes


class _End(asyncio.Protocol):
    """One end of the tunnel. ``peer`` is the other end's socket."""

    def __init__(self, own: asyncio.Transport, peer: asyncio.Transport) -> None:
        self._own = own
        self._peer = peer
        self.said_all = False
        self.other: _End | None = None
        self.gone = asyncio.Event()

    def take_over(self, early: bytes) -> None:
        self._own.set_write_buffer_limits(_HIGH_WATER)
        self._own.set_protocol(self)
        if early:
            self._peer.write(early)
        self._own.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._peer.write(data)

    def pause_writing(self) -> None:
        if not self._peer.is_closing():
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        if not self._peer.is_closing():
            self._peer.resume_reading()

    def eof_received(self) -> bool:
        """This side has said all: the other is told, and may still answer."""
        self.said_all = True
        both = self.other is not None and self.other.said_all
        if both or self._peer.is_closing() or not self._peer.can_write_eof():
            return False
        self._peer.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """An end that was cut off cuts the other off too; one that closed lets it flush."""
        if exc is not None:
            self._peer.abort()
        else:
            self._peer.close()
        self.gone.set()


async def run(client: Side, service: Side) -> None:
    """Join the two sockets until both are closed. Cancelling cuts both off."""
    near = _End(client.transport, service.transport)
    far = _End(service.transport, client.transport)
    near.other, far.other = far, near
    near.take_over(client.early)
    far.take_over(service.early)
    try:
        await _first(near.gone, far.gone)
        async with asyncio.timeout(_FLUSH):
            await near.gone.wait()
            await far.gone.wait()
    except TimeoutError:
        pass
    finally:
        for side in (client, service):
            side.transport.abort()
            # Only now: the server's protocol cancels its handler, which is us, when it is told.
            asyncio.get_running_loop().call_soon(side.before.connection_lost, None)


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
