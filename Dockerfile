# docker build --target service -t pytorch-trainer .        CPU
# docker build --target cuda    -t pytorch-trainer:cuda .   NVIDIA GPUs (run with --gpus all)
# --build-arg EXTRAS=otel,onnx adds what pyproject.toml lists as optional.
#
# docker run --rm -p 127.0.0.1:8000:8000 -v trainer:/data -v "$PWD":/workspace pytorch-trainer
# docker exec CONTAINER pytorch-trainer token
#
# /workspace has to be readable by user 10001, and writable where requests name a saveDir. Trainings end with their container
# and go on, from their checkpoints, in the next one on the same /data. A request for `contained` wants user namespaces, which
# Docker does not give unless told to; `guarded`, the default, needs nothing.

FROM python:3.12-slim AS build
ARG EXTRAS=
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app app
COPY schemas schemas
COPY trainer_core trainer_core

FROM build AS service-packages
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt "torch==2.13.0+cpu" ".${EXTRAS:+[$EXTRAS]}" \
 && /opt/venv/bin/python -m compileall -q /opt/venv

FROM build AS cuda-packages
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir -c constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
 && /opt/venv/bin/python -m compileall -q /opt/venv

FROM python:3.12-slim AS runtime
# git names the commit of a workspace; bubblewrap makes contained workers; tini, as the first process, ends what has lost its
# parent and passes signals on.
RUN apt-get update \
 && apt-get install --no-install-recommends -y bubblewrap git tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home trainer \
 && install -d -o trainer -g trainer /data /workspace
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 \
    PT_HOME=/data PT_WORKSPACE=/workspace PT_HOST=0.0.0.0 PT_PORT=8000
USER trainer
WORKDIR /workspace
VOLUME ["/data", "/workspace"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['PT_PORT']}/healthz\", timeout=2)"]
ENTRYPOINT ["tini", "--"]
CMD ["pytorch-trainer", "serve"]

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=cuda-packages /opt/venv /opt/venv

FROM runtime AS service
COPY --from=service-packages /opt/venv /opt/venv
