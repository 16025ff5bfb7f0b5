# Images of openbei: `docker build -t openbei .` for CPUs, `docker build --target cuda -t openbei:cuda .` for NVIDIA GPUs.
# `.ci/image` builds the CPU image and runs it. The CUDA image has not been built or run yet.

FROM debian:trixie-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/*

FROM base AS packages
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv --without-pip /opt/openbei
WORKDIR /source
COPY CMakeLists.txt LICENSE README.md pyproject.toml ./
COPY native native
COPY src src
RUN pip --python /opt/openbei install --no-cache-dir .

FROM packages AS cuda-packages
RUN pip --python /opt/openbei install --no-cache-dir '.[cuda]'

# Files are written to /cache only, so the root file system can be read-only.
FROM base AS runtime
RUN useradd --uid 10001 --home-dir /cache --create-home --shell /usr/sbin/nologin openbei
ENV PATH=/opt/openbei/bin:$PATH \
    OPENBEI_HOST=0.0.0.0 \
    OPENBEI_CACHE=/cache \
    HF_HOME=/cache/huggingface
USER 10001:10001
WORKDIR /cache
EXPOSE 7997
HEALTHCHECK --start-period=10m --interval=30s --timeout=6s CMD ["python3", "-c", \
    "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('OPENBEI_PORT', 7997)}/health\", timeout=5)"]
# As process 1, bei would ignore SIGTERM while it builds an engine directory; tini forwards it.
ENTRYPOINT ["tini", "--", "bei"]
CMD ["--help"]

# Triton compiles its launcher with a C compiler when the first kernel is launched.
FROM runtime AS cuda
USER 0
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
COPY --from=cuda-packages /opt/openbei /opt/openbei
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    TRITON_CACHE_DIR=/cache/triton

FROM runtime AS cpu
COPY --from=packages /opt/openbei /opt/openbei
