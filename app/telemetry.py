"""What the service says of itself: structured logs without secrets, and metrics without tenants."""

import logging
import os
import re
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from structlog.typing import EventDict, WrappedLogger

from app.settings import Settings

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REGISTRY = CollectorRegistry()
REQUESTS = Counter(
    "trainhouse_http_requests",
    "Requests answered, by route template.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
DURATIONS = Histogram(
    "trainhouse_http_request_duration_seconds", "Time from a request's head to the end of its answer.",
    ["method", "route"], registry=REGISTRY, buckets=BUCKETS,
)  # fmt: skip

SECRET_FIELDS = re.compile(r"(?i)authorization|secret|password|token|credential|cookie|api_key|access_key")
SECRET_TEXT = re.compile(r"th_live_\w+|whsec_[A-Za-z0-9+/=]+|(?i:bearer)\s+\S+|://[^/@\s]+@|\?[^\s\"']*X-Amz-[^\s\"']*")


def observe(method: str, route: str, *, status: int, seconds: float) -> None:
    """Counts one answered request. `route` is a template, so that no id becomes a label."""
    known = method if method in METHODS else "OTHER"
    REQUESTS.labels(known, route, str(status)).inc()
    DURATIONS.labels(known, route).observe(seconds)


def exposition() -> bytes:
    """All metrics in Prometheus' text format; of all processes, where PROMETHEUS_MULTIPROC_DIR is set."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    gathered = CollectorRegistry()
    MultiProcessCollector(gathered)  # type: ignore[no-untyped-call]
    return generate_latest(gathered)


def without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The log line with each secret blotted out, whether its field or its form gives it away."""
    return {name: "[secret]" if SECRET_FIELDS.search(name) else _blotted(value) for name, value in event.items()}


def _blotted(value: Any) -> Any:
    return SECRET_TEXT.sub("[secret]", value) if isinstance(value, str) else value


def configure_logs(settings: Settings) -> None:
    """Makes this process write one JSON object a line (or readable lines, where the settings ask) to standard output."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    last: Any = (
        structlog.processors.JSONRenderer() if settings.log_format == "json" else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            without_secrets,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )
