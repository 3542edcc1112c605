"""WebSocket through the gateway. Law: the handshake is forwarded, then the sockets are joined.

No frame is read: text, binary, pings, close codes, subprotocols, extensions and large frames are
the client's and the service's affair. Every other Upgrade is left out of what is forwarded.
"""

from __future__ import annotations

from typing import Final

from aiohttp.connector import Connection

from proxy.arrival import Inbound
from proxy.core.upstream import Headers
from proxy.edge import tunnel
from proxy.edge.origin import OriginClient, OriginResponse
from proxy.edge.respond import WireResponse
from proxy.edge.wire import OriginError
from proxy.errors import Problem
from proxy.headers import VIA, end_to_end
from proxy.passthrough import Passthrough, problem_of
from proxy.settings import Settings

_UPGRADE: Final[Headers] = (("Connection", "Upgrade"), ("Upgrade", "websocket"))


def is_websocket(inbound: Inbound) -> bool:
    """Whether the client asks for it (RFC 6455 section 4.1)."""
    return (
        inbound.upgrade == "websocket"
        and inbound.method == "GET"
        and inbound.request.spoken == (1, 1)
        and not inbound.body.exists
    )


class WebSockets:
    """Forwards handshakes and joins what they open."""

    def __init__(self, origin: OriginClient, passthrough: Passthrough, settings: Settings) -> None:
        self._origin = origin
        self._passthrough = passthrough
        self._settings = settings

    async def forward(self, inbound: Inbound) -> WireResponse:
        """Forward the handshake; where the service agrees, stay until both sides have closed."""
        try:
            response = await self._origin.send(
                inbound.method,
                inbound.target,
                (*inbound.onward, *_UPGRADE),
                head_timeout=self._settings.upstream_head_timeout,
            )
        except OriginError as error:
            raise problem_of(error) from error
        async with response:
            if response.status != 101:
                return await self._passthrough.relay(inbound, response)
            return await self._join(inbound, response)

    async def _join(self, inbound: Inbound, response: OriginResponse) -> WireResponse:
        connection = response.detach()
        try:
            headers = (*end_to_end(response.headers), VIA, *_UPGRADE)
            out = WireResponse(
                101, headers, length=None, close=True, send_timeout=self._settings.send_timeout
            )
            await out.prepare(inbound.request)
            await tunnel.run(_client_side(inbound), _service_side(connection))
        finally:
            connection.close()
        return out


class _Early:
    """Stands in for a frame parser, to be given what was read behind the handshake."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The protocols tell a parser of the end; there is nothing to do for it."""


def _client_side(inbound: Inbound) -> tunnel.Side:
    protocol, early = inbound.request.protocol, _Early()
    if protocol.transport is None:
        raise ConnectionResetError("the client has gone")
    protocol.set_parser(early)  # type: ignore[arg-type] # two of its methods are all that is used
    return tunnel.Side(protocol.transport, protocol, early.data)


def _service_side(connection: Connection) -> tunnel.Side:
    protocol, early = connection.protocol, _Early()
    if protocol is None or protocol.transport is None:
        raise Problem(502, "upstream-failed", "the service has gone")
    protocol.set_parser(early, None)
    return tunnel.Side(protocol.transport, protocol, early.data)
