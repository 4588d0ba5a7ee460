"""A small client of the REST API: what the demonstration and the tests say to it."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2

ENDED = ("succeeded", "rejected", "failed", "cancelled")
LONG_POLL_SECONDS = 10


class Refused(Exception):
    """The API answered with a problem; the message is its own words."""


class Client(httpx2.Client):
    """An httpx2 client with the key in its header, and the words of the service as methods."""

    def __init__(self, url: str, api_key: str, *, timeout: float = 60.0) -> None:
        # The environment's proxies are not for a service of this machine, nor is its key for them.
        super().__init__(base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=timeout, trust_env=False)

    def upload(self, path: Path, *, name: str | None = None) -> str:
        """Uploads a file as a data set and gives its id.

        Raises:
            Refused: the API did not take it.
        """
        with path.open("rb") as file:
            answer = self.post("/v1/datasets", files={"file": (path.name, file)}, data={"name": name or path.stem})
        return str(agreed(answer)["id"])

    def submit(self, spec: dict[str, Any]) -> str:
        """Submits a job and gives its id.

        Raises:
            Refused: the spec is not one; each fault is named.
        """
        return str(self.make("/v1/jobs", spec)["id"])

    def make(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """POSTs a document and gives the answer's.

        Raises:
            Refused: the API did not take it.
        """
        return agreed(self.post(path, json=document))

    def job(self, job_id: str, *, wait: int = 0) -> dict[str, Any]:
        """The job as it is now, or when it next changes within `wait` seconds."""
        return agreed(self.get(f"/v1/jobs/{job_id}", params={"wait": wait} if wait else None))

    def wait(self, job_id: str, statuses: Iterable[str] = ENDED, timeout: float = 120.0) -> dict[str, Any]:
        """The job, once its status is one of `statuses`.

        Raises:
            TimeoutError: it was not within `timeout` seconds; the message tells where it stood.
        """
        wanted, deadline = set(statuses), time.monotonic() + timeout
        answer = self.get(f"/v1/jobs/{job_id}")
        while (job := agreed(answer))["status"] not in wanted:
            answer = self._news(job_id, job, known=answer.headers["ETag"], deadline=deadline, timeout=timeout)
        return job

    def _news(
        self, job_id: str, job: dict[str, Any], *, known: str, deadline: float, timeout: float
    ) -> httpx2.Response:
        """The answer that tells of another state than `known`, once there is one."""
        while (left := deadline - time.monotonic()) > 0:
            wait = max(1, min(LONG_POLL_SECONDS, int(left)))
            answer = self.get(f"/v1/jobs/{job_id}", params={"wait": wait}, headers={"If-None-Match": known})
            if answer.status_code != httpx2.codes.NOT_MODIFIED:
                return answer
        raise TimeoutError(f"{job_id} is {job['status']} in {job['stage']} after {timeout:.0f} s: {job['error']}")

    def everything(self, path: str, **parameters: object) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page."""
        cursor: str | None = ""
        while cursor is not None:
            shown = {**parameters, "limit": 200} | ({"cursor": cursor} if cursor else {})
            page = agreed(self.get(path, params=shown))  # type: ignore[arg-type]  # plain values
            yield from page["items"]
            cursor = page["next_cursor"]


def agreed(answer: httpx2.Response) -> dict[str, Any]:
    """The body of a 2xx answer.

    Raises:
        Refused: any other answer.
    """
    if answer.is_success:
        return dict(answer.json())
    try:
        problem = answer.json()
    except ValueError:
        raise Refused(f"{answer.status_code}: {answer.text[:300]}") from None
    faults = [f"  {fault['pointer'] or '/'}: {fault['message']}" for fault in problem.get("errors", [])]
    raise Refused("\n".join([f"{answer.status_code} {problem.get('code')}: {problem.get('detail')}", *faults]))


def eventually(condition: Callable[[], bool], *, within: float = 30.0, what: str = "it") -> None:
    """Returns once `condition` is true.

    Raises:
        TimeoutError: it was not within that many seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {within:.0f} s")
        time.sleep(0.05)
