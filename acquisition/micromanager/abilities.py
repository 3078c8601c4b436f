"""What a rig can do, as its devices say: commands, channels, light, and what they sequence by themselves."""

from collections.abc import Iterator

from acquisition.micromanager.camera import Camera
from acquisition.micromanager.channels import Channels
from acquisition.micromanager.core_calls import CoreCalls
from acquisition.micromanager.settings import MicroManagerSettings
from acquisition.micromanager.stage import Stage
from acquisition.microscope import Capabilities, MicroscopeError


def capabilities_of(
    core: CoreCalls, settings: MicroManagerSettings, camera: Camera, stage: Stage, channels: Channels, um_per_px: float
) -> Capabilities:
    """As it is now that all is set up."""
    able = {"SetInterval", "AcquireBurst", "SetExposure", "SetLight", "SetRoi"}
    able |= {"MoveStage"} if stage.exists else set()
    able |= {"SetChannel"} if channels.names else set()
    # A snap keeps the core to itself, so a pulse during one would come too late.
    able |= {"PulseSorter"} if settings.trigger and settings.mode == "stream" else set()
    streams, wired = settings.mode == "stream", settings.shutter_follows_camera
    height, width = core.shape
    return Capabilities(
        name=f"Micro-Manager ({camera.label})",
        height_px=height,
        width_px=width,
        dtype="uint8" if core.dtype.itemsize == 1 else "uint16",
        um_per_px=um_per_px,
        commands=frozenset(able),
        channels=channels.names,
        lit_share=1.0 if streams and not wired else None,
        off_delay_ms=0.0 if streams or wired else settings.light_lag_ms,
        sequences=("bursts", *_sequenced_devices(core)),
    )


def _sequenced_devices(core: CoreCalls) -> Iterator[str]:
    """What a trigger from the camera steps through a list that was sent before, without the computer."""
    camera, xy, z = core.text("getCameraDevice"), core.text("getXYStageDevice"), core.text("getFocusDevice")
    if _says_yes(core, "isExposureSequenceable", camera):
        yield f"{camera}: {core.count('getExposureSequenceMaxLength', camera)} exposures"
    if xy and _says_yes(core, "isXYStageSequenceable", xy):
        yield f"{xy}: {core.count('getXYStageSequenceMaxLength', xy)} positions"
    if z and _says_yes(core, "isStageSequenceable", z):
        yield f"{z}: {core.count('getStageSequenceMaxLength', z)} positions"
    for device in core.names("getLoadedDevices"):
        for name in core.names("getDevicePropertyNames", device):
            if _says_yes(core, "isPropertySequenceable", device, name):
                yield f"{device}.{name}: {core.count('getPropertySequenceMaxLength', device, name)} values"


def _says_yes(core: CoreCalls, question: str, *args: str) -> bool:
    """Device adapters may leave the question out; that is a no."""
    try:
        return core.flag(question, *args)
    except MicroscopeError:
        return False
