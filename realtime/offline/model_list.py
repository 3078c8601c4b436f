"""What `reflexscope models` tells: the shipped models, and the card of one."""

from collections.abc import Iterator

from models.manifest import SHIPPED, ClassifierManifest, Model, ModelError, find_model, shipped_names

CARD = "card.md"


def model_lines() -> Iterator[str]:
    """A few lines a model: name, kind, size, what for, data and licences, card."""
    if not shipped_names():
        yield f"no models in {SHIPPED}: train one, or install a release that ships them"
    for name in shipped_names():
        model = find_model(name)
        yield f"{name}: {model.manifest.summary}"
        yield f"    {', '.join(_facts(model))}"
        for data in model.manifest.data:
            yield f"    trained on {data.name} ({data.licence}), {data.source}"
        yield f"    card: {model.folder / CARD}"


def card(name: str) -> str:
    """The card of a shipped model, or of one of yours by its folder. Raises ModelError."""
    path = find_model(name).folder / CARD
    try:
        return path.read_text(encoding="utf-8").rstrip()
    except OSError as error:
        raise ModelError(f"model {name} has no card to read: {path}: {error.strerror}") from error


def _facts(model: Model) -> Iterator[str]:
    manifest = model.manifest
    if isinstance(manifest, ClassifierManifest):
        yield f"classifier of {len(manifest.classes)} classes in {len(manifest.groups)} groups"
        yield f"crops of {manifest.side_px} px"
    else:
        yield f"segmenter by {' or '.join(manifest.methods)}"
    yield f"{model.onnx_path.stat().st_size / 1e6:.1f} MB"
    if manifest.um_per_px is not None:
        low, high = manifest.um_per_px
        yield f"{low:g} to {high:g} µm per pixel"
