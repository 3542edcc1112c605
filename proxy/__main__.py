"""The command line. Law: a command imports only what it needs, so that each starts fast.

Exit codes: 0 done, 1 failed, 2 usage or invalid configuration.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from proxy import __version__
from proxy.errors import ConfigError
from rules.mistakes import RulesError

COMMANDS: Final = {
    "serve": "run the sidecar",
    "check": "validate rules, alone or against those in force",
    "explain": "show how each item of a request is read, and what would be answered",
    "demo": "the same batches straight to a legacy service and through the proxy",
    "records": "look at records, release and resolve them",
    "import": "tell the proxy which keys were processed before it came",
    "report": "what a time in shadow mode has shown",
    "top": "live counters in the terminal",
    "schema": "print the JSON Schema of the rules file",
    "version": "print the version",
}
"""Each stands in a module of its own: ``add_arguments(parser)`` and ``run(arguments) -> int``."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = arguments[0] if arguments else ""
    if first not in COMMANDS:
        _overview().parse_args(arguments)
        _overview().error("a command is missing")
    command = _module(first)
    parser = argparse.ArgumentParser(f"idemproxy {first}", description=COMMANDS[first])
    command.add_arguments(parser)
    parsed = parser.parse_args(arguments[1:])
    try:
        return int(command.run(parsed))
    except (ConfigError, RulesError) as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our output has enough; the interpreter must not fail on it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _module(command: str) -> Any:
    """``import`` is a word of the language, and a module cannot have its name."""
    return importlib.import_module(f"proxy.cli.{command}{'_' * (command == 'import')}")


def _overview() -> argparse.ArgumentParser:
    """For ``--help``, ``--version`` and what is no command."""
    listed = "\n".join(f"  {name:<10}{says}" for name, says in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "idemproxy",
        usage="idemproxy COMMAND ...",
        description="Per-item idempotency for an all-or-nothing batch endpoint.",
        epilog=f"commands:\n{listed}\n\nidemproxy COMMAND --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"idemproxy {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
