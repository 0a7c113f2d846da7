"""The activity template-fibo:activity/fibo-activity-ifc: a class of the interface's name."""

from obelisk_guest import Err, exported


@exported
class FiboActivityIfc:
    """Activities may do anything: they run again when they fail, and their results are kept."""

    def fibo(self, n: int) -> int:
        """The n-th Fibonacci number."""
        if n > 93:
            raise Err(None)  # does not fit a u64
        last, following = 0, 1
        for _ in range(n):
            last, following = following, last + following
        return last
