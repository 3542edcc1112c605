"""What one legacy endpoint means: the rules file and the JSON of its requests and responses.

The map, in the order in which a request meets it::

    load.py       YAML text            -> RuleSet            every mistake at once
    match.py      method, path, body   -> which Rule; scope  -> which Mode
    request.py    body bytes           -> Batch              items as exact bytes
                  Batch, indexes       -> sub-batch bytes
    response.py   status, body bytes   -> Verdict, results, offenders
    lookup.py     Rule, key            -> lookup request; its answer -> Found | NotFound | Unsure
    render.py     results              -> one answer body, fields added, counts rewritten

    jsontext.py   JSON as text: values by their digits, spans  (jsonshape.py: depth, length)
    contents.py   body bytes -> its items' values, keys and canonical text, in one reading
    itemkeys.py   item bytes -> Key, where that reading does not do
    native.py     asks _scan.pyx first, the compiled build's reader of whole batches (packed.py:
                  the keys it gives; rows.py: what it renders), and has nothing in the pure build

Law: this package knows JSON and YAML. It knows no Redis, no sockets, no clock, no aiohttp, and
imports nothing of ``proxy``.
"""
