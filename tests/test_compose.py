"""docker-compose.yml and Dockerfile keep in step with the settings and with each other."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from app.spec.extras import EXTRAS

HOUSE = Path(__file__).resolve().parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((HOUSE / "docker-compose.yml").read_text())
DOCKERFILE = (HOUSE / "Dockerfile").read_text()
OWN = ("migrate", "api", "dispatcher", "worker", "delivery")
STATES = {"service_healthy", "service_started", "service_completed_successfully"}
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z0-9_]+)(?P<rest>[^}]*)\}")
NOT_SECRET = {
    "TRAINHOUSE_S3_PUBLIC_ENDPOINT", "TRAINHOUSE_PUBLIC_URL", "TRAINHOUSE_EGRESS_ALLOW", "TRAINHOUSE_SQLITE_DIR",
    "TRAINHOUSE_EXTRAS",
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_every_variable_of_a_service_is_a_setting_and_every_needed_setting_is_there(name: str) -> None:
    environment = set(COMPOSE["services"][name]["environment"])
    fields = {"TRAINHOUSE_" + field.upper(): about for field, about in Settings.model_fields.items()}
    assert environment <= set(fields), environment - set(fields)
    needed = {field for field, about in fields.items() if about.is_required()} | {"TRAINHOUSE_REDIS_URL"}
    assert needed <= environment, needed - environment


def test_no_secret_has_a_default() -> None:
    text = (HOUSE / "docker-compose.yml").read_text()
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for found in VARIABLE.finditer(body):
        if found["name"] not in NOT_SECRET:
            assert found["rest"].startswith(":?set "), found.group()


def test_a_stack_starts_from_what_compose_sets() -> None:
    filled = {
        name.removeprefix("TRAINHOUSE_").lower(): VARIABLE.sub("a1b2c3d4", value)
        for name, value in COMPOSE["services"]["api"]["environment"].items()
    }
    settings = Settings(**filled)
    assert settings.s3_endpoint == "minio:9000"
    assert settings.database_url.get_secret_value().endswith("@postgres:5432/trainhouse")


def test_services_wait_for_services_that_exist_and_can_say_that_they_are_healthy() -> None:
    for name, service in COMPOSE["services"].items():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in STATES
            if how["condition"] == "service_healthy":
                assert "healthcheck" in COMPOSE["services"][other], f"{name} waits for {other}"


def test_named_volumes_are_declared() -> None:
    used = {volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_images_are_pinned_or_built_from_a_target_that_exists() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE))
    for name, service in COMPOSE["services"].items():
        if "build" in service:
            assert service["build"]["target"] in targets, name
        else:
            tag = service["image"].rpartition(":")[2]
            assert re.match(r"\d|RELEASE\.", tag), service["image"]


def test_every_queue_is_served_by_one_kind_of_worker() -> None:
    command = " ".join(COMPOSE["services"]["delivery"]["command"])
    assert "--queues=webhooks" in command
    assert '"pipeline,trials"' in DOCKERFILE


def test_every_copied_file_exists_and_passes_the_dockerignore() -> None:
    ignored = (HOUSE / ".dockerignore").read_text().splitlines()
    for source in re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE):
        assert (HOUSE / source).exists(), source
        assert f"!{source}" in ignored, source


def test_containers_do_not_run_as_root() -> None:
    for stage in DOCKERFILE.split("\nFROM ")[2:]:
        assert "\nUSER trainhouse\n" in stage
        assert "--require-hashes" in stage


IMPORTS = """
import importlib, importlib.metadata, re, sys

class Image:
    def find_spec(self, name, path=None, target=None):
        owners = KNOWN.get(name.partition(".")[0], [])
        if owners and not LOCKED & {re.sub("[-_.]+", "-", owner).lower() for owner in owners}:
            raise ModuleNotFoundError(f"the image has no {name}")

KNOWN, LOCKED = importlib.metadata.packages_distributions(), {"trainhouse", *sys.argv[1].split(",")}
sys.meta_path.insert(0, Image())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
"""Imports modules as if nothing but the packages of a lock file were installed."""


@pytest.mark.parametrize(
    ("image", "modules"), [
        ("api", ("app.main", "app.accounts.bootstrap")), ("api", ("workers.dispatcher",)),
        ("api", ("workers.main", "workers.tasks", "workers.delivery")),
        ("worker", ("workers.main", "workers.tasks", "workers.pipeline", "workers.trial")),
    ], ids=["api", "dispatcher", "delivery", "worker"]
)  # fmt: skip
def test_what_a_container_runs_is_in_its_image(image: str, modules: tuple[str, ...]) -> None:
    lock = (HOUSE / f"requirements-{image}.lock").read_text()
    locked = re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)
    said = {name: VARIABLE.sub("a1b2c3d4", value) for name, value in COMPOSE["services"][image]["environment"].items()}
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS, ",".join(locked), *modules], cwd=HOUSE, env={"PATH": os.environ["PATH"], **said},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2_000:]


def test_the_worker_image_brings_the_extras_that_compose_says_it_has() -> None:
    said = VARIABLE.search(COMPOSE["services"]["api"]["environment"]["TRAINHOUSE_EXTRAS"])
    assert said
    extras = said["rest"].removeprefix(":-").split(",")
    offered = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = (HOUSE / "requirements-worker.lock").read_text()
    assert set(extras) == set(EXTRAS) - {"gp"}
    for extra in extras:
        for package in offered[extra]:
            assert f"\n{re.split('[=<>]', package)[0]}==" in locked


def test_the_page_for_operators_names_every_setting_and_no_other() -> None:
    named = set(re.findall(r"`(TRAINHOUSE_[A-Z0-9_]+)`", (HOUSE / "docs" / "operations.md").read_text()))
    assert named == {"TRAINHOUSE_" + field.upper() for field in Settings.model_fields}
