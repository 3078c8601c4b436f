"""The architecture as a test: who may import whom, and which library lives where. Standard library only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("acquisition", "models", "tracking", "realtime")  # a package may import itself and what stands before it
HOMES = {
    "pycromanager": ("acquisition/micromanager/connection.py",),
    "pymmcore": ("acquisition/micromanager/connection.py",),
    "pymmcore_plus": ("acquisition/micromanager/connection.py",),
    "mm_test_adapters": ("acquisition/micromanager/connection.py",),
    "serial": ("acquisition/serial_port.py",),
    "zmq": ("realtime/bus.py",),
    "time": ("acquisition/clock.py",),
    "pickle": (),
    "tensorrt": ("models/engines/",),
    "cuda": ("models/engines/",),
    "openvino": ("models/engines/",),
    "onnxruntime": ("models/engines/",),
    "onnx": ("models/networks/", "models/training/", "models/engines/"),
    "geff": ("realtime/offline/geff_files.py",),
    "geff_spec": ("realtime/offline/geff_files.py",),
    "pyarrow": ("realtime/session/tables.py", "realtime/offline/track_table.py"),
    "ctc_metrics": ("realtime/offline/ctc_figures.py",),
    "torch": ("models/networks/", "models/training/", "models/engines/"),
    "matplotlib": ("models/training/", "realtime/scoring/pareto.py", "realtime/sort/report.py"),
}
HEAVY = (
    "ctc_metrics",
    "geff",
    "matplotlib",
    "networkx",
    "pandas",
    "zarr",
    "sklearn",
    "torch",
    "tensorrt",
    "pycromanager",
    "pymmcore",
)


def modules() -> Iterator[Path]:
    for package in ORDER:
        yield from sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import; write it in full"
            yield (node.module or "").split(".")[0], node.lineno


def test_imports_point_upstream() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}: {name} is downstream; move the shared part into "
        f"{package} or hand it in as an argument"
        for path in modules()
        for package in [path.relative_to(ROOT).parts[0]]
        for name, line in imports(path)
        if name in ORDER and ORDER.index(name) > ORDER.index(package)
    ]
    assert not wrong, "\n".join(wrong)


def test_each_library_stays_at_home() -> None:
    wrong = [
        f"{place}:{line} imports {name}; its home is {' or '.join(HOMES[name]) or 'nowhere in this project'}"
        for path in modules()
        for place in [path.relative_to(ROOT).as_posix()]
        for name, line in imports(path)
        if name in HOMES and not place.startswith(HOMES[name] or ("\0",))
    ]
    assert not wrong, "\n".join(wrong)


def test_packages_are_ours_and_light() -> None:
    code = (
        f"import sys, {', '.join(ORDER)}, realtime.inference, realtime.processes.ticket, realtime.cli\n"
        f"print(*[m for m in {HEAVY} if m in sys.modules])\n"
        f"print(*[p for p in {ORDER} if not sys.modules[p].__file__.startswith({str(ROOT)!r})])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy, foreign = answer.stdout.splitlines()
    assert not heavy, f"importing the packages loads {heavy}; import it where it is used"
    assert not foreign, f"{foreign} does not come from this checkout: another package has the same name"


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_stay_readable(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 300, f"{lines} lines; split it by what it makes"
    assert ast.get_docstring(tree), "a module begins by saying what it is for"
    if path.name == "__init__.py":
        assert len(tree.body) == 1, "__init__.py holds a docstring and nothing else"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines; the limit is 60"
