"""The compiled build: `IDEMPROXY_COMPILE=1 pip wheel --no-build-isolation .`, beside mypy, Cython
and the libraries, has mypyc make C of the hot path, and Cython of two modules that the pure build
has not: they read and pack whole batches at once.

Without the variable this is a pure build, which needs neither a compiler nor mypy: the pure Python
is what is developed and what `pip install` gives. The compiled build has the `.py` files too.
"""

import os

from setuptools import Extension, setup

# What a request runs through. What is not here stays Python, for one of these reasons:
# - It runs at start or for operators alone: loading of rules, settings, CLI, admin, demo.
# - It defines msgspec Structs (proxy.arrival, proxy.core.record and .fate, proxy.exchange,
#   proxy.observe, rules.row): a metaclass makes their classes, which a compiled module does not
#   know again.
# - Its classes inherit from a library's that look at them closely (proxy.edge.line, .server,
#   .respond), or it has an asynchronous generator (proxy.edge.body).
# - Interpreted classes inherit from its own (proxy.observe, too).
#
# What compiled code does otherwise than Python, and the tests of the compiled build look for: it
# checks annotations when it is called; an `int` given for a `float` becomes a double; a slice of
# bytes whose end is before its start is an error; `except ... as name` with classes of our own
# needs a name for each.
COMPILED = [
    # reading a request and writing its answer
    "rules/condition.py",
    "rules/contents.py",
    "rules/derived.py",
    "rules/itemkeys.py",
    "rules/jsonshape.py",
    "rules/jsontext.py",
    "rules/match.py",
    "rules/model.py",
    "rules/native.py",
    "rules/packed.py",
    "rules/pointer.py",
    "rules/render.py",
    "rules/request.py",
    "rules/response.py",
    "rules/rows.py",
    # the core
    "proxy/core/answer.py",
    "proxy/core/codec.py",
    "proxy/core/commits.py",
    "proxy/core/delivery.py",
    "proxy/core/fates.py",
    "proxy/core/isolation.py",
    "proxy/core/keys.py",
    "proxy/core/native.py",
    "proxy/core/plan.py",
    "proxy/core/replays.py",
    # the driver
    "proxy/adopting.py",
    "proxy/asking.py",
    "proxy/calls.py",
    "proxy/claiming.py",
    "proxy/delivered.py",
    "proxy/flow.py",
    "proxy/forward.py",
    "proxy/leases.py",
    "proxy/limit.py",
    "proxy/preparing.py",
    "proxy/randomness.py",
    "proxy/rounds.py",
    "proxy/run.py",
    "proxy/settling.py",
    "proxy/straight.py",
    "proxy/stitch.py",
    "proxy/underway.py",
    "proxy/upstream.py",
    "proxy/waiting.py",
    # the two edges
    "proxy/batching.py",
    "proxy/budget.py",
    "proxy/direct.py",
    "proxy/edge/asked.py",
    "proxy/edge/head.py",
    "proxy/edge/known.py",
    "proxy/edge/origin.py",
    "proxy/edge/pool.py",
    "proxy/edge/repeated.py",
    "proxy/edge/slots.py",
    "proxy/edge/wire.py",
    "proxy/headers.py",
    "proxy/inbound.py",
    "proxy/lifecycle.py",
    "proxy/remembered.py",
    "proxy/tallies.py",
    # the store
    "proxy/store/breaker.py",
    "proxy/store/burst.py",
    "proxy/store/busy.py",
    "proxy/store/clock.py",
    "proxy/store/evalsha.py",
    "proxy/store/guard.py",
    "proxy/store/link.py",
    "proxy/store/pipe.py",
    "proxy/store/plain.py",
    "proxy/store/plain_wire.py",
    "proxy/store/receive.py",
    "proxy/store/redis.py",
    "proxy/store/replies.py",
    "proxy/store/scripts.py",
    "proxy/store/sealed.py",
    "proxy/store/topology.py",
    "proxy/store/wire.py",
]


# Asked first, by rules.native and proxy.core.native; what they do not give is found the exact way.
NATIVE = ["rules/_scan.pyx", "proxy/core/_pack.pyx"]


def native() -> list[Extension]:
    from Cython.Build import cythonize

    modules = [
        Extension(
            path.removesuffix(".pyx").replace("/", "."),
            [path],
            include_dirs=["rules"],
            depends=["rules/blake2b.h"],
            extra_compile_args=["-O2", "-g0", "-Wno-psabi"],
        )
        for path in NATIVE
    ]
    return cythonize(modules, build_dir="build/cython", force=True)


def compiled() -> list[Extension]:
    from mypyc.build import mypycify

    # One group in one C file: calls between modules are C calls. The library has a name of its
    # own, or it would be called after a hash of the list. -O3 takes longer and measures the same.
    modules = mypycify(
        ["--strict", "--explicit-package-bases", *COMPILED],
        opt_level="2",
        debug_level="0",
        group_name="idemproxy",
    )
    for module in modules:  # nobody outside calls its functions: the calls need no table
        module.extra_compile_args += ["-fvisibility=hidden", "-fno-semantic-interposition"]
    return modules


# "native": without mypyc's part, for the sanitizers' run.
MAKERS = {"1": (compiled, native), "native": (native,)}
WANTED = MAKERS.get(os.environ.get("IDEMPROXY_COMPILE", ""), ())
setup(ext_modules=[module for make in WANTED for module in make()])
