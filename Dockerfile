# One image for workers, exporter and every other verb: `docker build --tag langgraph-baton:1.2.0 .`
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY exporter ./exporter
COPY dashboards ./dashboards
COPY alerts ./alerts
COPY scenarios ./scenarios
COPY gates ./gates
COPY contract ./contract
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[postgres]'

FROM python:3.11.13-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'langgraph-baton[postgres]'
RUN useradd --system --uid 10001 --home-dir /work --create-home baton
COPY deploy/baton /deploy
USER 10001
WORKDIR /work
ENV PYTHONUNBUFFERED=1
CMD ["baton", "--help"]
