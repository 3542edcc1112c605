# syntax=docker/dockerfile:1
# The sidecar and its example service in one image: two stages, pinned wheels only, and no compiler
# in the second. The hot path is compiled in the first, by mypyc, Cython and gcc.
#
#   docker build -t idempotency-proxy:0.1.0 .
#   docker build --secret id=ca,src=company-ca.pem ...     behind a proxy with a private CA
#   docker build --build-arg BASE_IMAGE=my/python:3.13 ... on a base of your own (Python 3.11+)
#   docker build --build-arg COMPILE=0 ...                 pure Python, where no compiler can be had:
#                                                          no apt-get in the base, or no mirror
#
# The same inputs give the same files: versions come from the two locks, bytecode is checked by hash
# and not by time, no set's order gets into the C sources (PYTHONHASHSEED), and every file that is
# added bears SOURCE_DATE_EPOCH. gcc is the base's: another release of it may give other code.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ARG COMPILE=1
ARG SOURCE_DATE_EPOCH=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PYTHONHASHSEED=0
WORKDIR /build
RUN python3 -m venv /tmp/tools \
    && python3 -m venv --without-pip /opt/idemproxy
# Not pinned: of its compiler a base's release has one version. Debian's own python3 comes without
# headers, the official image's with them.
# hadolint ignore=DL3008
RUN if [ "${COMPILE}" = 1 ]; then \
        headers=$(python3 -c "import sysconfig; print(sysconfig.get_path('include'))") \
        && apt-get update \
        && apt-get install -y --no-install-recommends gcc libc6-dev \
        && { [ -e "${headers}/Python.h" ] \
            || apt-get install -y --no-install-recommends python3-dev; } \
        && rm -rf /var/lib/apt/lists/*; \
    fi
COPY requirements.lock requirements-dev.lock ./
RUN --mount=type=secret,id=ca,required=false,target=/run/ca.pem \
    if [ -s /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi \
    && /tmp/tools/bin/pip install --only-binary=:all: -c requirements-dev.lock setuptools mypy cython \
    && /tmp/tools/bin/pip --python /opt/idemproxy/bin/python install \
        --only-binary=:all: -r requirements.lock
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY proxy proxy
COPY rules rules
COPY examples examples
# What no process here reads goes: type stubs, C sources, the second backend of zstandard (12 MB),
# lexers for other languages (9 MB), the C parser that only builds use, and, where there is a
# compiler's strip, the symbols of all that is compiled (35 MB); what is left is tried.
# mypy looks at the libraries' types, so that the wheel's maker is shown where they are.
RUN export IDEMPROXY_COMPILE="${COMPILE}" \
    && libraries=$(/opt/idemproxy/bin/python -c "import site; print(site.getsitepackages()[0])") \
    && PYTHONPATH=${libraries} /tmp/tools/bin/pip wheel --no-deps --no-build-isolation \
        --wheel-dir /tmp/wheel . \
    && /tmp/tools/bin/pip --python /opt/idemproxy/bin/python install --no-deps --no-index \
        /tmp/wheel/*.whl \
    && find /opt/idemproxy -depth \( -name tests -o -name __pycache__ -o -name '*.pyi' \
        -o -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' -o -name direct_url.json \
        -o -name 'activate*' -o -name 'Activate*' -o -name '_cffi.*.so' \
        -o -path '*/pygments/lexers/*.py' ! -name __init__.py ! -name _mapping.py \
        ! -name python.py ! -name special.py -o -name 'pycparser*' -o -name cffi \) \
        -exec rm -rf {} + \
    && if [ "${COMPILE}" = 1 ]; then \
        find /opt/idemproxy -name '*.so' -exec strip --strip-unneeded {} +; \
    fi \
    && python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash /opt/idemproxy/lib \
    && /opt/idemproxy/bin/python -c "import rich.console, rich.traceback, zstandard, ruamel.yaml; \
        import proxy.serve, uvloop, brotli, orjson, hiredis, yarl, aiohttp._http_parser; \
        from cryptography.hazmat.primitives.asymmetric import rsa; \
        rsa.generate_private_key(65537, 2048)" \
    && /opt/idemproxy/bin/idemproxy version \
    && find /opt/idemproxy -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="idempotency-proxy" \
      org.opencontainers.image.description="A sidecar that gives an all-or-nothing batch endpoint per-item idempotency" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Nothing may be installed into a running container: the base image's pip goes, and its wheels.
RUN find / -xdev -depth \( -name pip -o -name 'pip-*' -o -name ensurepip -o -name python-wheels \
        -o -name 'pip3*' \) \( -path '*/bin/*' -o -path '*/lib/python*' -o -path '*/share/*' \) \
        -exec rm -rf {} +
COPY --from=build /opt/idemproxy /opt/idemproxy
ENV PATH=/opt/idemproxy/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /
EXPOSE 8000 9000
# Kubernetes ignores this and drives its own probes.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('IDEMPROXY_ADMIN_LISTEN', ':9000').rpartition(':')[2] + '/livez', timeout=2)"]
# The process itself is PID 1: it handles SIGTERM and leaves no children behind.
ENTRYPOINT ["idemproxy"]
CMD ["serve"]
