# The Python line is pinned; a rebuild takes its security fixes.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The environment has no pip of its own: nothing can be installed into the finished image.
RUN python -m venv --without-pip /opt/muster
# The lock alone first: this layer is built again only when a dependency changes.
COPY requirements.lock ./
RUN pip --python /opt/muster/bin/python install --no-compile --only-binary :all: \
        --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY app ./app
# The migrations land beside the package app, where app.core.migrations looks for them.
# Bytecode is made here once: at run time nobody may write it. Hashes instead of times keep builds alike.
RUN pip --python /opt/muster/bin/python install --no-compile --no-deps --no-build-isolation . \
    && /opt/muster/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/muster/lib \
    && /opt/muster/bin/muster --version

FROM ${PYTHON_IMAGE} AS runtime
LABEL org.opencontainers.image.title="Muster" \
      org.opencontainers.image.description="Open control plane for scale-out process servers of replication sites" \
      org.opencontainers.image.licenses="Apache-2.0"
# Fixed numbers, so that a mounted folder can be given to this user beforehand.
RUN groupadd --gid 10001 muster \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/muster --shell /usr/sbin/nologin muster \
    && install -d -o muster -g muster -m 0700 /var/lib/muster /var/lib/muster-agent
COPY --from=build /opt/muster /opt/muster
ENV PATH=/opt/muster/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MUSTER_HOST=0.0.0.0 \
    MUSTER_PORT=8000 \
    MUSTER_DATA_DIR=/var/lib/muster \
    MUSTER_AGENT_STATE_DIR=/var/lib/muster-agent
WORKDIR /var/lib/muster
USER 10001:10001
VOLUME ["/var/lib/muster"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# /healthz says whether the process answers; /readyz, for whoever routes traffic, whether it can serve.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", "\
import http.client, os, ssl, sys; \
port = int(os.environ['MUSTER_PORT']); \
tls = os.environ.get('MUSTER_TLS_CERTIFICATE_FILE'); \
server = http.client.HTTPSConnection('127.0.0.1', port, timeout=4, context=ssl._create_unverified_context()) \
if tls else http.client.HTTPConnection('127.0.0.1', port, timeout=4); \
server.request('GET', '/healthz'); \
sys.exit(server.getresponse().status != 200)"]
ENTRYPOINT ["muster"]
CMD ["serve"]
