"""What must be true of the rows and the blobs after any campaign; each query finds violations, so it must find nothing."""

from collections.abc import Sequence
from typing import Any

import psycopg

from app.storage import S3Store

QUERIES = {
    "I1 every accepted job reaches a terminal state": """
        select id from jobs where id = any(%(jobs)s) and status not in ('succeeded', 'rejected', 'failed', 'cancelled')
    """,
    "I3 at most one version comes of a job": """
        select job_id from model_versions where job_id = any(%(jobs)s) group by job_id having count(*) > 1
    """,
    "I3 a job that succeeded has a version": """
        select j.id from jobs j left join model_versions v on v.job_id = j.id
        where j.id = any(%(jobs)s) and j.status = 'succeeded' and v.id is null
    """,
    "I3 versions of a model have no gaps": """
        select m.name from models m join model_versions v on (v.project_id, v.model) = (m.project_id, m.name)
        group by m.name, m.last_version having count(*) <> m.last_version or max(v.version) <> m.last_version
    """,
    "I4 a registration is announced under exactly one id": """
        select j.id from jobs j left join events e on e.job_id = j.id and e.type = 'model.version.registered'
        where j.id = any(%(jobs)s) and j.status = 'succeeded' group by j.id having count(distinct e.id) <> 1
    """,
    "I4 a terminal state is announced exactly once": """
        select j.id from jobs j left join events e on e.job_id = j.id and e.type = 'job.' || j.status
        where j.id = any(%(jobs)s) group by j.id having count(e.id) <> 1
    """,
    "I6 no stage was settled under a fence that the job never reached": """
        select s.job_id from job_stages s join jobs j on j.id = s.job_id where j.id = any(%(jobs)s) and s.fence > j.fence
    """,
    "I7 no job ended its worker more often than allowed": """
        select id from jobs where id = any(%(jobs)s) and strikes > %(strikes)s + 1
    """,
    "I8 a job that did not succeed registered nothing": """
        select j.id from jobs j left join model_versions v on v.job_id = j.id
        left join events e on e.job_id = j.id and e.type = 'model.version.registered'
        where j.id = any(%(jobs)s) and j.status in ('cancelled', 'rejected') and (v.id is not null or e.id is not null)
    """,
    "no job holds a lease after its end": """
        select id from jobs where id = any(%(jobs)s) and (lease_owner is not null or waits_on is not null)
    """,
    "no trial is left running": """
        select job_id from trials where job_id = any(%(jobs)s) and status in ('queued', 'running')
    """,
}


def violations(connection: psycopg.Connection[Any], jobs: Sequence[str], *, strikes: int) -> dict[str, list[str]]:
    """By invariant, the ids that break it; empty where all hold."""
    found = {}
    for name, query in QUERIES.items():
        rows = connection.execute(query.encode(), {"jobs": list(jobs), "strikes": strikes}).fetchall()
        if rows:
            found[name] = [row[0] for row in rows]
    return found


def missing_blobs(connection: psycopg.Connection[Any], store: S3Store) -> list[str]:
    """I5: digests that rows name and the store does not have at the recorded size."""
    rows = connection.execute(
        "select j.project_id, a.digest, a.size_bytes from artifacts a join jobs j on j.id = a.job_id"
        " union select project_id, bundle_digest, bundle_bytes from model_versions"
    ).fetchall()
    return [digest for project_id, digest, size in rows if store.size(project_id, digest) != size]
