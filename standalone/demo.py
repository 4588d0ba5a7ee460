"""`trainhouse demo`: the whole road from raw tables to a registered model and a signed webhook, on real data."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app import verdicts
from standalone import flights
from standalone.children import ChildFailed
from standalone.client import ENDED, Client, Refused
from standalone.folder import AlreadyRunning
from standalone.receiver import Received, Receiver
from standalone.supervisor import OUTSIDE, Options, Stack, interrupts, is_outside

TRIALS = 6
LONGEST_SECONDS = 900.0
OPENING = 'from trainhouse_loader import open_bundle; b = open_bundle("bundle.zip"); print(b.predict(b.example))'
MARKS = {"succeeded": "[green]✓[/]", "running": "[yellow]…[/]", "failed": "[red]✗[/]", "skipped": "[dim]–[/]"}
STORY = {
    "ingest": "{rows:,} rows, {columns} columns of an upload, a lake and a database",
    "validate": "{rows:,} rows kept, {dropped} dropped, {classes} classes, {drifted} columns drifted",
    "split": "by {method}: {train:,} train, {validation:,} validation, {test:,} test",
    "transform": "{columns} columns to {features} features, {categorical} categorical",
    "train": "{algorithm}, {iterations} rounds, {metric} {value:.4f} on validation",
    "tune": "{complete} of {trials} trials complete, best {metric} {value:.4f} (trial {best_trial})",
    "evaluate": "on {rows:,} rows that no step before has seen",
    "gate": "{verdict}: {rules} rules, {failed} failed",
    "register": "{bundle_bytes:,} bytes; a fresh process predicts as training did",
    "deploy": "asked for {target}",
}
EVENTS = ["model.version.registered", "deployment.requested", "job.succeeded"]


class DemoFailed(Exception):
    """The demonstration did not end as it should; the message says what to do."""


def show(data_dir: Path, *, port: int = 0, keep: bool = False) -> int:
    """Runs the demonstration and gives the exit code: 0 only where a version was registered and its webhook verified."""
    console = Console(highlight=False, soft_wrap=True)
    options = Options(data_dir, port=port)
    began = time.monotonic()
    try:
        refuse_outside_engines()
        with (
            interrupts(),
            running(Stack(options, lambda line: console.print(f"[dim]{line}[/]"))) as stack,
            Receiver() as receiver,
        ):
            tell(console, stack, receiver, began)
            while keep:
                stack.tend()
                time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("stopped")
        return 0 if keep else 130
    except (DemoFailed, ChildFailed, AlreadyRunning, Refused, HTTPError) as error:
        console.print(Text.assemble(("trainhouse demo: ", "red"), str(error)))
        console.print(f"logs: {options.folder.resolve() / 'logs'}")
        return 1
    return 0


def refuse_outside_engines() -> None:
    """Raises DemoFailed where the environment names engines: the demonstration writes tables into its own."""
    named = [variable for engine, variable in OUTSIDE.items() if is_outside(engine)]
    if named:
        raise DemoFailed(f"it brings its own engines; unset {', '.join(named)} first")


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """The stack, started here and stopped at the end."""
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def tell(console: Console, stack: Stack, receiver: Receiver, began: float) -> None:
    """The story: land the data, submit the job, watch it, receive its webhooks, answer as the deployer."""
    with Client(stack.url, stack.api_key) as client:
        hook = client.make("/v1/webhooks", {"url": receiver.url, "events": EVENTS, "description": "demo"})
        receiver.secret = str(hook["secret"])
        with console.status("landing five tables: an upload, a data lake, a database"):
            dataset_id = flights.land(client, stack.engines, stack.folder)
        job_id = client.submit(flights.spec(dataset_id, trials=TRIALS))
        console.print(
            f"which flights out of New York will be more than {flights.LATE_MINUTES} minutes late?  {job_id}\n"
        )
        job = watch(console, client, stack, job_id)
        if job["status"] != "succeeded":
            raise DemoFailed(explain(job))
        registered = arrived(receiver, "model.version.registered")
        asked = arrived(receiver, "deployment.requested")
        deployment = deploy(client, asked)
        client.delete(f"/v1/webhooks/{hook['id']}")
        report(console, job, registered)
        console.print(f"  deployment   {deployment['id']}: its deployer says {deployment['state']}, so 'staging' moved")
        console.print(f"  took         {time.monotonic() - began:.0f} s from an empty terminal\n")
        farewell(console, stack, job)


def watch(console: Console, client: Client, stack: Stack, job_id: str) -> dict[str, Any]:
    """Shows stages and trials as they go; the job, once it has ended or waits for a person."""
    deadline = time.monotonic() + LONGEST_SECONDS
    with Live(console=console, refresh_per_second=4) as live:
        while True:
            job = client.job(job_id, wait=1)
            trials = list(client.everything(f"/v1/jobs/{job_id}/trials"))
            live.update(Group(stages_table(job), trials_line(trials)))
            if job["status"] in {*ENDED, "awaiting_review"}:
                return job
            if time.monotonic() > deadline:
                raise DemoFailed(f"the job still runs after {LONGEST_SECONDS:.0f} s; this machine may be very busy")
            stack.tend()


def stages_table(job: dict[str, Any]) -> Table:
    """The ten stages, each with its time by now and what came of it."""
    table = Table.grid(padding=(0, 2))
    for stage in job["stages"]:
        row = (
            MARKS.get(stage["status"], " "),
            stage["name"],
            Text(elapsed(stage), justify="right"),
            Text(in_words(stage), style="dim"),
        )
        table.add_row(*row)
    return table


def elapsed(stage: dict[str, Any]) -> str:
    """How long a stage took, or has taken, by the clock on the wall."""
    if stage["cached"] or not stage["started_at"]:
        return "cached" if stage["cached"] else ""
    end = datetime.fromisoformat(stage["finished_at"]) if stage["finished_at"] else datetime.now(UTC)
    return f"{(end - datetime.fromisoformat(stage['started_at'])).total_seconds():.1f} s"


def in_words(stage: dict[str, Any]) -> str:
    """A stage's summary as a phrase; empty where the stage has not said all that the phrase needs."""
    try:
        return STORY[stage["name"]].format(**(stage["summary"] or {}))
    except (KeyError, ValueError, TypeError):
        return ""


def trials_line(trials: list[dict[str, Any]]) -> Text:
    """How far the search is, and the best value by now."""
    values = [trial["value"] for trial in trials if trial["value"] is not None]
    done = sum(trial["status"] in {"complete", "pruned"} for trial in trials)
    best = f", best roc_auc {max(values):.4f}" if values else ""
    return Text(f"   trials {done} of {TRIALS} done{best}" if trials else "")


def arrived(receiver: Receiver, kind: str) -> Received:
    """The webhook of that type, its signature verified.

    Raises:
        DemoFailed: none came, or its signature does not hold.
    """
    try:
        found = receiver.wait_for(kind, timeout=30.0)
    except TimeoutError as error:
        raise DemoFailed(f"{error}: see delivery.log and dispatcher.log") from None
    if not found.verified:
        raise DemoFailed(f"the webhook {kind} came with a signature that does not hold")
    return found


def deploy(client: Client, asked: Received) -> dict[str, Any]:
    """Answers the deployment's request as a deployer does: it serves; only now does the alias move."""
    deployment_id = asked.document["data"]["deployment_id"]
    client.make(f"/v1/deployments/{deployment_id}/report", {"state": "accepted", "detail": "pulled the bundle"})
    return client.make(f"/v1/deployments/{deployment_id}/report", {"state": "serving", "detail": "answers requests"})


def report(console: Console, job: dict[str, Any], registered: Received) -> None:
    """What came of it: metrics, gate, version, webhook."""
    version = job["model_version"]
    console.print(f"\n[bold green]{version['model']} version {version['version']} is registered[/]\n")
    test = job["metrics"]["test"]
    for name in flights.METRICS:
        low, high = test[name].get("low"), test[name].get("high")
        within = f"   95 % between {low:.4f} and {high:.4f}" if low is not None and high is not None else ""
        console.print(f"  {name:<18}{test[name]['value']:.4f}{within}")
    console.print()
    for rule in job["gate"]["rules"]:
        console.print(
            f"  gate         {verdicts.subject(rule)} {rule['value']:.4f}, wanted {verdicts.wanted(rule)}: {rule['verdict']}"
        )
    console.print(f"  webhook      {registered.type} {registered.webhook_id}, signature verified")


def farewell(console: Console, stack: Stack, job: dict[str, Any]) -> None:
    """Where to look next."""
    version, endpoint = job["model_version"], stack.endpoint_file
    here = f"/v1/models/{version['model']}/versions/{version['version']}"
    console.print("Look around; everything is kept in the data folder:")
    console.print(f"  {command()} up --data-dir {stack.folder}")
    console.print(
        f'  KEY=$(python3 -c \'import json; print(json.load(open("{endpoint}"))["api_key"])\')',
        soft_wrap=True,
        markup=False,
    )
    for path in (f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id']}/trials", here, f"{here}/card", f"{here}/lineage"):
        console.print(f'  curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8000{path}')
    console.print("Predict with it, where no service is:")
    console.print(f'  curl -L -o bundle.zip -H "Authorization: Bearer $KEY" http://127.0.0.1:8000{here}/bundle')
    console.print(f"  {command('python3')} -c '{OPENING}'", soft_wrap=True, markup=False)


def command(name: str = "trainhouse") -> str:
    """How this program was called, or the one called `name` beside it."""
    called = Path(sys.argv[0])
    return os.path.relpath(called.with_name(name)) if called.name == "trainhouse" else name


def explain(job: dict[str, Any]) -> str:
    """Why the job did not succeed, in the service's own words."""
    if job["status"] == "awaiting_review":
        return f"the gate refused the model, and a review is open ({job['review_id']}): {job['gate']}"
    error = job["error"] or {}
    faults = "".join(f"\n  {fault['pointer']}: {fault['message']}" for fault in error.get("errors", []))
    return f"the job {job['status']} in {job['stage']}: {error.get('code')}: {error.get('detail')} {error.get('hint', '')}{faults}"
