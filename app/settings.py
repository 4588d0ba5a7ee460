"""Every environment variable the service reads, as one frozen object."""

import socket
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What a process of Trainhouse needs to know; each field is `TRAINHOUSE_<FIELD>` in the environment.

    There is no default for an engine's address or for a secret: a process that is not told refuses to start.
    """

    model_config = SettingsConfigDict(env_prefix="TRAINHOUSE_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(description="postgresql://user:password@host:port/name")
    redis_url: SecretStr | None = Field(default=None, description="redis://:password@host:port/0; the API needs none")
    s3_endpoint: str = Field(description="host:port of the S3-compatible store, without a scheme")
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    s3_bucket: str = "trainhouse"
    s3_region: str = "us-east-1"
    s3_secure: bool = Field(default=False, description="true where the store speaks TLS")
    s3_public_endpoint: str | None = Field(default=None, description="host:port that callers see in presigned URLs")
    secret_keys: SecretStr = Field(
        description="comma-separated Fernet keys that seal secrets at rest, newest first; also the pepper of API keys"
    )
    public_url: str = Field(default="http://127.0.0.1:8000", description="base of the URLs put into webhooks")
    allowed_hosts: str = Field(default="*", description="comma-separated values accepted in the Host header")
    egress_allow: str = Field(
        default="", description="comma-separated CIDR ranges that callers' URLs may reach although they are not public"
    )
    sqlite_dir: Path | None = Field(
        default=None, description="folder whose SQLite files connections may read; without it, none are read"
    )
    max_upload_bytes: int = Field(default=4 * 1024**3, ge=1)
    lease_seconds: float = Field(default=30.0, gt=0, description="how long a silent worker keeps its job")
    max_strikes: int = Field(default=3, ge=1, description="claims in a row without progress before a job is poison")
    scratch_dir: Path = Field(default=Path("/tmp/trainhouse"), description="worker-local cache of blobs")  # noqa: S108
    scratch_bytes: int = Field(default=8 * 1024**3, ge=1)
    worker_threads: int | None = Field(
        default=None, ge=1, description="upper bound of threads of one fit in this worker; without it, the cores"
    )
    cores: int | None = Field(
        default=None, ge=1, description="cores that all fits of this machine share; without it, those it may run on"
    )
    checkpoint_seconds: float = Field(
        default=30.0, gt=0, description="how often a long fit is saved, so that another worker can go on with it"
    )
    node: str = Field(default_factory=socket.gethostname, description="the machine's name in leases and trials")
    extras: str | None = Field(
        default=None, description="comma-separated extras that the workers have; unset: those of this installation"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @field_validator("sqlite_dir", mode="before")
    @classmethod
    def unset_where_empty(cls, said: object) -> object:
        """An empty variable names no folder, and not the present one."""
        return said or None


@lru_cache
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        pydantic.ValidationError: a required variable is missing or malformed.
    """
    return Settings()  # type: ignore[call-arg]  # the environment supplies the fields
