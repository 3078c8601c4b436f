"""How the driver gets hold of a core: MMCore loaded here, pycromanager's, or that of a running Micro-Manager.

The only module that imports pymmcore and pycromanager, and only when a rig is opened.
"""

from collections.abc import Callable
from pathlib import Path

from acquisition.micromanager.core_calls import CoreCalls, Foreign, first_line
from acquisition.micromanager.light import Release
from acquisition.micromanager.settings import MicroManagerSettings
from acquisition.microscope import MicroscopeError


def connect(settings: MicroManagerSettings, note: Callable[[str], None]) -> tuple[CoreCalls, Release]:
    """The core that the settings ask for, configured, and how to let go of it. For the core's thread only."""
    if settings.core == "java":
        core = _java_core(settings.port, settings.timeout_ms)
        return CoreCalls(core, note, new_metadata=None, tagged=settings.on_overflow == "count"), lambda: None
    config = settings.config_path()
    adapters = settings.adapter_folder() if settings.adapter_path else _test_adapters()
    import pymmcore

    if settings.core == "python":
        return _python_core(config, adapters, note)
    core = _plus_core() if settings.core == "pymmcore-plus" else pymmcore.CMMCore()
    calls = CoreCalls(core, note, pymmcore.Metadata)
    calls.do("setDeviceAdapterSearchPaths", [str(adapters)])
    try:
        calls.do("loadSystemConfiguration", str(config))
    except MicroscopeError:
        core.unloadAllDevices()
        raise
    return calls, core.unloadAllDevices


def _plus_core() -> Foreign:
    try:
        from pymmcore_plus import CMMCorePlus
    except ImportError as error:
        raise MicroscopeError("core = 'pymmcore-plus' needs that package: pip install pymmcore-plus") from error
    return CMMCorePlus()


def _python_core(config: Path, adapters: Path, note: Callable[[str], None]) -> tuple[CoreCalls, Release]:
    """pycromanager keeps the in-process core for the whole process, so there can be one."""
    import mmpycorex
    import pycromanager
    import pymmcore

    if mmpycorex.is_pymmcore_active():
        raise MicroscopeError("pycromanager runs an in-process core already: call pycromanager.stop_headless() first")
    note("start_headless")
    try:
        pycromanager.start_headless(str(adapters), str(config), python_backend=True)
    except Exception as error:  # MMCore's own kinds and the launcher's
        raise MicroscopeError(f"pycromanager could not load {config}: {first_line(error)}") from error
    return CoreCalls(pycromanager.Core(), note, pymmcore.Metadata), pycromanager.stop_headless


def _java_core(port: int, timeout_ms: int) -> Foreign:
    """Micro-Manager's core over the bridge; asked twice, as a busy server looks like a missing one."""
    import pycromanager

    for attempt in (1, 2):
        try:
            return pycromanager.Core(port=port, timeout=timeout_ms)
        except Exception as error:  # the bridge raises nothing more precise
            if attempt == 2:
                raise MicroscopeError(
                    f"no Micro-Manager answers on port {port} within {timeout_ms} ms: start it, tick Tools > "
                    "Options > Run server on port, or raise timeout_ms if it is busy"
                ) from error
    raise AssertionError("unreachable")


def _test_adapters() -> Path:
    try:
        import mm_test_adapters
    except ImportError as error:
        raise MicroscopeError(
            "adapter_path is empty and the package mm-test-adapters is not installed: give the folder of "
            "your Micro-Manager installation as adapter_path"
        ) from error
    return Path(mm_test_adapters.device_adapter_path())
