# An image with library, workflow and command, in the versions of requirements.lock:
#   docker build --tag nndefense .
#   docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" nndefense run fig5
# With `--gpus all` it uses GPUs. rsync: for pods of Kubernetes (docs/cluster.md).
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
RUN apt-get update && apt-get install --yes --no-install-recommends rsync && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/requirements.lock /wheels/*.whl /tmp/install/
RUN pip install --no-cache-dir --no-compile --constraint /tmp/install/requirements.lock \
      "$(echo /tmp/install/*.whl)[reports,webdataset]" && rm -rf /tmp/install
# Whoever runs it may have no folder of their own.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["nndefense"]
CMD ["run", "--help"]
