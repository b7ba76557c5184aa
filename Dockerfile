# autorec on CPUs. It runs as no user in particular, on a read-only root file system:
#
#   docker build -t autorec .
#   docker run --rm --read-only --tmpfs /tmp --user "$(id -u):$(id -g)" -v "$PWD:/work" autorec run ratings.csv -o out
#
# Any base with Python 3.11 or newer, its venv module and glibc will do.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
# PyPI's build for Linux comes with gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY constraints.txt ./
RUN python3 -m venv /opt/autorec \
    && /opt/autorec/bin/python -m pip install --no-cache-dir --no-deps --constraint constraints.txt --index-url "${TORCH_INDEX}" torch
COPY . .
RUN /opt/autorec/bin/python -m pip install --no-cache-dir --constraint constraints.txt '.[fast,report]' \
    && /opt/autorec/bin/python -m pip uninstall --yes pip

FROM ${BASE}
COPY --from=build /opt/autorec /opt/autorec
# Compiled kernels and fonts are cached in HOME; docs/operations.md says how to keep them between runs.
ENV PATH=/opt/autorec/bin:${PATH} HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["autorec"]
CMD ["--help"]
