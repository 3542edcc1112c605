"""Content codings, undone within limits. Law: pure; the input is hostile.

Two limits: the decoded size, and 100 bytes out for each byte in, so that a small bomb is refused
long before it is large. The ratio is asked only beyond a size at which a bomb hurts: short
batches of much alike items do compress that well.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import brotli  # type: ignore[import-untyped]
import zstandard

MAX_RATIO: Final = 100
_RATIO_FROM: Final = 256 * 1024
_PIECE: Final = 64 * 1024
_ZSTD_WINDOW: Final = 2**23


class TooLarge(Exception):
    """The decoded body is over a limit. ``limit``: size or ratio."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class Undecodable(Exception):
    """The coding is unknown, or the body is not in it, or ends before its end."""


class _Decoder(Protocol):
    def decode(self, data: bytes) -> Iterator[bytes]: ...
    def finished(self) -> bool: ...


class _Zlib:
    """gzip and deflate. HTTP's deflate is the zlib format; some send it bare, and are read too."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflate = zlib.decompressobj(31 if gzip else 15)
        self._started = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        if not self._gzip and not self._started and not _has_zlib_header(data):
            self._inflate = zlib.decompressobj(-15)
        self._started = True
        while data:
            yield self._inflate.decompress(data, _PIECE)
            data = self._inflate.unconsumed_tail
            if self._inflate.eof and self._inflate.unused_data:
                data = self._next_member()
        while not self._inflate.eof and (rest := self._inflate.decompress(b"", _PIECE)):
            yield rest

    def _next_member(self) -> bytes:
        data = self._inflate.unused_data
        if not self._gzip:
            raise Undecodable("bytes behind the end")
        self._inflate = zlib.decompressobj(31)
        return data

    def finished(self) -> bool:
        return self._inflate.eof


class _Brotli:
    def __init__(self) -> None:
        self._decompress = brotli.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        yield self._decompress.process(data, output_buffer_limit=_PIECE)
        while not self._decompress.is_finished() and (
            rest := self._decompress.process(b"", output_buffer_limit=_PIECE)
        ):
            yield rest

    def finished(self) -> bool:
        return bool(self._decompress.is_finished())


class _Zstd:
    """Fed in small steps: one step's output is bounded by its input times the format's limit."""

    def __init__(self) -> None:
        self._decompress = self._fresh()

    @staticmethod
    def _fresh() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj(
            write_size=_PIECE
        )

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), 128):
            piece = data[start : start + 128]
            while piece:
                if self._decompress.eof:
                    self._decompress = self._fresh()
                yield self._decompress.decompress(piece)
                piece = self._decompress.unused_data if self._decompress.eof else b""

    def finished(self) -> bool:
        return self._decompress.eof


def _has_zlib_header(data: bytes) -> bool:
    return len(data) > 1 and data[0] & 15 == 8 and int.from_bytes(data[:2]) % 31 == 0


_DECODERS: Final[dict[str, Callable[[], _Decoder]]] = {
    "gzip": lambda: _Zlib(gzip=True),
    "x-gzip": lambda: _Zlib(gzip=True),
    "deflate": lambda: _Zlib(gzip=False),
    "br": _Brotli,
    "zstd": _Zstd,
}

CODINGS: Final = tuple(_DECODERS)


def decode(coding: str, body: bytes, limit: int, *, max_ratio: int | None = MAX_RATIO) -> bytes:
    """``body`` without its one content coding. ``max_ratio`` None: its sender is trusted. Raises
    TooLarge and Undecodable."""
    make = _DECODERS.get(coding.strip().lower())
    if make is None:
        raise Undecodable("unknown content coding")
    if not body:
        raise Undecodable("an empty body in a content coding")
    decoder, out, size = make(), list[bytes](), 0
    try:
        for piece in decoder.decode(body):
            size += len(piece)
            if size > limit:
                raise TooLarge("size")
            if max_ratio is not None and size > _RATIO_FROM and size > max_ratio * len(body):
                raise TooLarge("ratio")
            out.append(piece)
    except (zlib.error, brotli.error, zstandard.ZstdError, EOFError) as error:
        raise Undecodable("the body is not in its content coding") from error
    if not decoder.finished():
        raise Undecodable("the body ends before its end")
    return b"".join(out)
