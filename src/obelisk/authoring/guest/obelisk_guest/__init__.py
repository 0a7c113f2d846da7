"""What makes a component in Python read like Python: `from obelisk_guest import exported, sleep, JoinSet`.

Runs inside of components, in their Python; `obelisk build` puts it there. It adds nothing to what a component can do: every
function here is a few calls of `wit_world`, whose functions may be called as well. It must not decide anything by what is not
in the log, and imports at the top of modules only: later there are no files.
"""

from obelisk_guest.exporting import exported
from obelisk_guest.joining import JoinSet
from obelisk_guest.waiting import DelayCancelled, after, at, now, sleep, sleep_until
from obelisk_guest.world import Err, Ok

__all__ = ["DelayCancelled", "Err", "JoinSet", "Ok", "after", "at", "exported", "now", "sleep", "sleep_until"]
