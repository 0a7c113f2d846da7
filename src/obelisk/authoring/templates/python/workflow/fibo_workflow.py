"""The workflow template-fibo:workflow/fibo-workflow-ifc: a class of the interface's name."""

from componentize_py_types import Err
from wit_world.imports.fibo_activity_ifc import fibo
from wit_world.imports.fibo_activity_ifc_ext import fibo_await_next, fibo_submit
from wit_world.imports.workflow_support import join_set_create


class FiboWorkflowIfc:
    """Workflows are deterministic: everything that may come out differently is a call of something imported."""

    def fiboa(self, n: int, iterations: int) -> int:
        """Calls, one after another. One that returns an error raises `Err`, and so does this."""
        last = 0
        for _ in range(iterations):
            last = fibo(n)
        return last

    def fiboa_concurrent(self, n: int, iterations: int) -> int:
        """The same calls at once, awaited in the order in which they finish."""
        with join_set_create() as join_set:
            for _ in range(iterations):
                fibo_submit(join_set, n)
            last = 0
            for _ in range(iterations):
                _execution_id, result = fibo_await_next(join_set)
                if isinstance(result, Err):
                    raise result
                last = result.value
            return last
