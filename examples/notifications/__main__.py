"""``python -m examples.notifications --port 8080 --db notifications.db``"""

from __future__ import annotations

import argparse

from examples.notifications.outbox import Outbox
from examples.notifications.service import make_app
from examples.serving import run

parser = argparse.ArgumentParser(prog="python -m examples.notifications", description=__doc__)
parser.add_argument("--port", type=int, default=8080, help="0: any free one (default: 8080)")
parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: loopback)")
parser.add_argument("--db", default=":memory:", help="the SQLite file (default: in memory)")
parser.add_argument(
    "--marks-first",
    action="store_true",
    help="mark the keys of a batch before it is inserted, and keep the marks if it is rejected",
)
arguments = parser.parse_args()
run(
    make_app(Outbox(arguments.db, marks_first=arguments.marks_first)),
    arguments.port,
    arguments.host,
)
