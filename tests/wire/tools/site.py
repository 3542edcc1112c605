"""A small, well-behaved site: validators, ranges, codings, a large page. What tools look at."""

from __future__ import annotations

import gzip
import hashlib
from contextlib import suppress
from email.utils import formatdate

from aiohttp import web

PAGE = (
    "<!doctype html><title>page</title>" + "<p>some text that repeats itself</p>" * 200
).encode()
LARGE = bytes(range(256)) * 40_000
MODIFIED = 1_700_000_000


async def page(request: web.Request) -> web.Response:
    """Negotiates gzip and answers conditional requests, as a page with validators does."""
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    body = gzip.compress(PAGE, mtime=0) if packed else PAGE
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "max-age=60",
        "ETag": tag,
        "Last-Modified": formatdate(MODIFIED, usegmt=True),
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, headers=headers)


async def large(request: web.Request) -> web.StreamResponse:
    """Answers ranges; written piece by piece, so that slow readers fill nobody's memory here."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": '"l"'}
    wanted = request.http_range
    status, part = 200, LARGE
    if wanted.start is not None or wanted.stop is not None:
        status, part, start = 206, LARGE[wanted], wanted.start
        first = start if start is not None and start >= 0 else len(LARGE) - len(part)
        headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(LARGE)}"
    headers["Content-Length"] = str(len(part))
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    with suppress(ConnectionError):
        for start in range(0, len(part), 65536):
            await response.write(part[start : start + 65536])
        await response.write_eof()
    return response


async def echo(request: web.Request) -> web.Response:
    """Takes any body; that a client leaves is what some tools are for."""
    with suppress(ConnectionError):
        return web.Response(text=str(len(await request.read())))
    return web.Response(status=400)


async def batch(request: web.Request) -> web.Response:
    """Takes every batch."""
    document = await request.json()
    return web.json_response({"results": [{"ok": True} for _ in document["orders"]]})


def make_site() -> web.Application:
    app = web.Application(client_max_size=2**26)
    app.router.add_get("/page", page)
    app.router.add_get("/large", large)
    app.router.add_post("/orders/batch", batch)
    app.router.add_route("*", "/{rest:.*}", echo)
    return app


async def serve(port: int) -> web.AppRunner:
    """The site on loopback; ``cleanup`` ends it."""
    runner = web.AppRunner(make_site(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner
