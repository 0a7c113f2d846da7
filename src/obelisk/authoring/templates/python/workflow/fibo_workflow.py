"""The workflow template-fibo:workflow/fibo-workflow-ifc: a class of the interface's name."""

from obelisk_guest import JoinSet, exported
from wit_world.imports.fibo_activity_ifc import fibo
from wit_world.imports.fibo_activity_ifc_ext import fibo_await_next, fibo_submit


@exported
class FiboWorkflowIfc:
    """Workflows are deterministic: everything that may come out differently is a call of something imported."""

    def fiboa(self, n: int, iterations: int) -> int:
        """Calls, one after another. One that returns an error raises `Err`, and so does this."""
        last = 0
        for _ in range(iterations):
            last = fibo(n)
        print(f"{iterations} calls of fibo({n}), one after another: {last}")
        return last

    def fiboa_concurrent(self, n: int, iterations: int) -> int:
        """The same calls at once, awaited in the order in which they finish."""
        with JoinSet() as calls:
            for _ in range(iterations):
                calls.submit(fibo_submit, n)
            results = [value for _execution_id, value in calls.results(fibo_await_next)]
        return results[-1] if results else 0
