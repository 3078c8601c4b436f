"""A run of real processes for a benchmark, and the session that it leaves for a moment."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from realtime.config import load_config
from realtime.processes.supervisor import Supervisor


@contextmanager
def session_of(
    config: Path,
    seconds: float,
    overrides: Iterable[str] = (),
    beside: Callable[[Supervisor], AbstractContextManager[object]] = lambda supervisor: nullcontext(),
) -> Iterator[Path]:
    """Run it for so long, with something going on beside it; the folder is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=".", prefix="benchmark-") as root:
        folder = Path(root) / "session"
        with Supervisor(load_config(config, overrides), folder, seconds) as supervisor:
            supervisor.start()
            with beside(supervisor):
                result = supervisor.supervise()
        assert result.ok, result.reason
        yield folder
