# Two images from one file: `api` imports no ML library and stays slim, `worker` trains.
# docker build --target api -t trainhouse-api . && docker build --target worker -t trainhouse-worker .

FROM python:3.13-slim-trixie AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MALLOC_ARENA_MAX=2
RUN useradd --system --uid 10001 --home-dir /srv/trainhouse --create-home trainhouse
WORKDIR /srv/trainhouse

FROM base AS api
COPY requirements-api.lock ./
RUN pip install --require-hashes -r requirements-api.lock
COPY migrations migrations
COPY trainhouse_loader trainhouse_loader
COPY app app
# the dispatcher rings bells for workers by name, and is of their house
COPY workers workers
USER trainhouse
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["python", "-m", "uvicorn", "app.main:build", "--factory", "--host", "0.0.0.0", "--port", "8000", \
     "--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "10"]

FROM base AS worker
# LightGBM's wheel does not carry the OpenMP runtime
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY requirements-worker.lock ./
RUN pip install --require-hashes -r requirements-worker.lock
COPY trainhouse_loader trainhouse_loader
COPY app app
COPY workers workers
RUN mkdir -p /var/tmp/trainhouse/cores && chown -R trainhouse /var/tmp/trainhouse
ENV TRAINHOUSE_SCRATCH_DIR=/var/tmp/trainhouse REMAP_SIGTERM=SIGQUIT
USER trainhouse
CMD ["python", "-m", "celery", "-A", "workers.main:celery", "worker", "--loglevel", "INFO", \
     "--queues", "pipeline,trials", "--concurrency", "1", \
     "--without-gossip", "--without-mingle", "--without-heartbeat"]
