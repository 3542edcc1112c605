"""``idemproxy serve``: the proxy itself. Exit code 2 where settings or rules cannot be used."""

from __future__ import annotations

import argparse
import os

import uvloop

from proxy.logs import configure
from proxy.serve import Worker, serve
from proxy.settings import SETTINGS, from_env_and_flags
from proxy.workers import Supervisor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every setting is a flag too."""
    for setting in SETTINGS:
        parser.add_argument(
            setting.flag,
            dest=setting.field,
            metavar=setting.kind.upper(),
            help=f"{setting.help} ({setting.default or 'none'}; {setting.variable})",
        )


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. Raises ConfigError."""
    given = {s.field: getattr(arguments, s.field) for s in SETTINGS}
    flags = {name: text for name, text in given.items() if text is not None}
    settings = from_env_and_flags(os.environ, flags)

    def one(worker: Worker) -> int:
        return uvloop.run(serve(settings, worker))

    if settings.workers == 1:
        return one(Worker())
    configure(settings.log_level, settings.log_format)
    return Supervisor(settings.workers, one).run()
