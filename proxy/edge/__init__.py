"""The HTTP edge: what stands between sockets and the rest.

::

    server.py    aiohttp's low-level server, stricter: caps, deadlines, fixed error bodies
    body.py      a request's body: streamed, or held up to a limit and still streamable
    coding.py    gzip, deflate, br and zstd, decoded within limits
    respond.py   a response's head and body exactly as given
    origin.py    one request to the legacy service and its response, as bytes
    tunnel.py    two sockets joined, after a 101

Law: this package knows HTTP and sockets. It knows no rules, no store and no batches.
"""
