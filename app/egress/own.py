"""What belongs to this service itself, and is nobody's source or receiver."""

import ipaddress
import socket
from urllib.parse import parse_qs, urlsplit

from app.settings import Settings

OWN_TABLES = ("alembic_version", "api_keys", "idempotency_keys", "job_stages", "model_versions", "webhook_endpoints")
"""Together in one schema, they are Trainhouse's own: no other database has them all."""
HOLDS_OWN_TABLES = f"""
    select count(*) > 0 from (
        select relnamespace from pg_catalog.pg_class where relkind in ('r', 'p')
        and relname in ({", ".join(f"'{name}'" for name in OWN_TABLES)})
        group by relnamespace having count(*) = {len(OWN_TABLES)}) as own
"""  # noqa: S608
"""Asks a Postgres database whether it is one of Trainhouse's; every role may know which tables there are."""


def own_ports(settings: Settings) -> frozenset[int]:
    """The ports at which this service and its engines listen."""
    redis = settings.redis_url.get_secret_value() if settings.redis_url else ""
    urls = [settings.database_url.get_secret_value(), redis, f"s3://{settings.s3_endpoint}", settings.public_url]
    return frozenset(port for url in urls if (port := urlsplit(url).port) is not None)


def is_own_database(addresses: list[str], port: int, database: str, *, settings: Settings) -> bool:
    """Whether the service's own database is what `database` at one of `addresses` names."""
    parts = urlsplit(settings.database_url.get_secret_value())
    asked = parse_qs(parts.query)
    host = parts.hostname or asked.get("host", ["127.0.0.1"])[0]
    own_port = parts.port or int(asked.get("port", ["5432"])[0])
    name = parts.path.lstrip("/") or asked.get("dbname", [parts.username or ""])[0]
    if (port, database) != (own_port, name):
        return False
    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, own_port)}
    except OSError:
        return False
    return not found.isdisjoint(addresses) or (_any_loopback(found) and _any_loopback(addresses))


def _any_loopback(addresses: set[str] | list[str]) -> bool:
    return any(ipaddress.ip_address(address).is_loopback for address in addresses)
