"""A running stack as tests see it: the client, the processes to kill, the engines to stop."""

from standalone.children import Child
from standalone.client import Client, Refused, agreed, eventually
from standalone.engines import Engines
from standalone.receiver import Received, Receiver
from standalone.supervisor import Stack


class RunningStack:
    """A whole stack of real processes. What dies stays dead until a test starts it again."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = Client(stack.url, stack.api_key)

    @property
    def url(self) -> str:
        """Where the API answers."""
        return self.stack.url

    @property
    def api_key(self) -> str:
        """An admin's key."""
        return self.stack.api_key

    @property
    def engines(self) -> Engines:
        """Postgres, Redis and S3, each to be killed and started."""
        return self.stack.engines

    @property
    def workers(self) -> list[Child]:
        """The workers of stages and trials; each has pid, kill(), start()."""
        return [service.child for name, service in self.stack.services.items() if name.startswith("worker-")]

    @property
    def api(self) -> Child:
        """The API's process."""
        return self.stack.services["api"].child

    @property
    def dispatcher(self) -> Child:
        """The dispatcher's process."""
        return self.stack.services["dispatcher"].child

    @property
    def delivery(self) -> Child:
        """The process that sends webhooks."""
        return self.stack.services["delivery"].child

    def heal(self) -> None:
        """Starts whatever is dead and returns when all is up."""
        for engine in self.engines.all:
            if not engine.alive:
                engine.start()
            engine.wait_ready()
        for name, service in self.stack.services.items():
            if not service.child.alive:
                service.child.start()
            eventually(service.is_up, within=60, what=f"{name} coming up")


__all__ = ["Client", "Received", "Receiver", "Refused", "RunningStack", "agreed", "eventually"]
