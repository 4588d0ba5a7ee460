"""Deploy: says who is to be told that the version is ready; the engine tells them."""

from workers.context import Context, DeploymentRequested, Done, Skipped


def run(ctx: Context) -> Done:
    """Asks for a deployment to `deployment.target`; skipped where there is none."""
    deployment = ctx.spec.deployment
    if deployment.target == "none":
        return Skipped(summary={"target": "none"}, output={"target": "none"}, reason="deployment.target is none")
    asked = {
        "target": deployment.target, "require_ack": deployment.require_ack, "ack_seconds": deployment.ack_seconds,
    }  # fmt: skip
    return DeploymentRequested(summary=asked, output=asked, target=deployment.target)
