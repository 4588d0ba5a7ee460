"""The `trainhouse` command."""

import os
from pathlib import Path
from typing import Annotated

import typer

cli = typer.Typer(
    name="trainhouse", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Trains tabular models as a service: validated, tuned, gated, registered, announced.",
)  # fmt: skip

DataDir = Annotated[
    Path, typer.Option(help="Engines' data, secrets, logs and endpoint.json.", envvar="TRAINHOUSE_DATA_DIR")
]
Port = Annotated[int, typer.Option(help="Of the API; 0 picks a free one.", min=0, max=65535)]
Workers = Annotated[int, typer.Option(help="Worker processes; each trains one thing at a time.", min=1, max=64)]
Host = Annotated[str, typer.Option(help="The address that the API listens on.")]


@cli.command()
def up(
    port: Port = 8000,
    data_dir: DataDir = Path(".trainhouse"),
    workers: Workers = 2,
    host: Host = "127.0.0.1",
) -> None:
    """Start engines, migrations, API, dispatcher and workers; Ctrl-C stops them all."""
    from standalone.children import ChildFailed  # noqa: PLC0415  # the imports take longer than --help may
    from standalone.folder import AlreadyRunning  # noqa: PLC0415
    from standalone.supervisor import Options, run  # noqa: PLC0415

    try:
        run(Options(data_dir, host=host, port=port, workers=workers), typer.echo)
    except (AlreadyRunning, ChildFailed) as error:
        typer.echo(f"trainhouse: {error}", err=True)
        raise typer.Exit(1) from None


@cli.command()
def demo(
    data_dir: DataDir = Path(".trainhouse"),
    port: Port = 0,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Go on running afterwards, to look around.")] = False,
) -> None:
    """Train, gate and register a model of late flights on real data, and watch it happen."""
    from standalone.demo import show  # noqa: PLC0415  # the imports take longer than --help may

    raise typer.Exit(show(data_dir, port=port, keep=keep))


@cli.command()
def verify(
    receipts: Annotated[
        list[Path], typer.Argument(help="Receipts of one model, oldest first, or one file with a list of them.")
    ],
    key: Annotated[str | None, typer.Option(help="The public key, base64, that must have signed them.")] = None,
    recompute: Annotated[
        Path | None, typer.Option(help="The artifact `judged` of the last receipt's job: compute its verdict again.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="The bundle that the last receipt is about.")] = None,
) -> None:
    """Check decision receipts without any service: digests, signatures, the chain, and the verdict itself."""
    from standalone.verifying import check  # noqa: PLC0415  # the imports take longer than --help may

    raise typer.Exit(check(receipts, key=key, rows=recompute, say=typer.echo, bundle=bundle))


@cli.command()
def version() -> None:
    """Print the installed version."""
    from importlib.metadata import version as installed  # noqa: PLC0415  # slow, and needed here alone

    typer.echo(installed("trainhouse"))


def main() -> None:
    """The entry point: `trainhouse`."""
    os.umask(0o077)
    cli()


if __name__ == "__main__":
    main()
