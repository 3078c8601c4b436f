"""A run of real processes for a benchmark, and the session that it leaves for a moment."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from realtime.config import load_config
from realtime.processes.supervisor import Supervisor


@contextmanager
def session_of(config: Path, seconds: float) -> Iterator[Path]:
    """Run it for so long; the folder is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=".", prefix="benchmark-") as root:
        folder = Path(root) / "session"
        with Supervisor(load_config(config), folder, seconds) as supervisor:
            supervisor.start()
            result = supervisor.supervise()
        assert result.ok, result.reason
        yield folder
