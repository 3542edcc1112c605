"""``python -m examples.legacy --port 8080 --db payments.db``"""

from __future__ import annotations

import argparse

from examples.legacy.payments import Payments
from examples.legacy.service import make_app
from examples.serving import run

parser = argparse.ArgumentParser(prog="python -m examples.legacy", description=__doc__)
parser.add_argument("--port", type=int, default=8080, help="0: any free one (default: 8080)")
parser.add_argument("--db", default=":memory:", help="the SQLite file (default: in memory)")
arguments = parser.parse_args()
run(make_app(Payments(arguments.db)), arguments.port)
