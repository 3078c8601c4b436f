"""`train` and `export` as a person meets them: what they leave, how they end, their one-line errors."""

import io
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from drawn_cells import data_folder, tiny_recipe
from rich.console import Console
from test_realtime_cli import Command

from models.manifest import find_model
from realtime.offline import cli_train
from realtime.offline.training_watch import TerminalWatch

needs_torch = pytest.mark.skipif(
    any(find_spec(name) is None for name in cli_train.NEEDED), reason="the extra train is not installed"
)


@pytest.fixture
def reflexscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setattr(cli_train, "console", Console(stderr=True))
    return Command(monkeypatch, capsys)


@pytest.fixture
def asked(tmp_path: Path) -> tuple[object, ...]:
    """What every training of these tests begins with."""
    return ("train", "segmenter", tiny_recipe(tmp_path), "--data", data_folder(tmp_path / "discs"))


@needs_torch
def test_a_training_leaves_a_model_and_export_makes_it_again(
    reflexscope: Command, asked: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    answer = reflexscope(*asked, "--out", out, "--steps", 4, "--set", "validation.every=2")
    assert answer.status == 0, answer.err
    assert "tiny: 4 images to learn from, 2 to validate on" in answer.err
    assert "step 2: loss" in answer.err
    assert "step 4: loss" in answer.err
    answer = reflexscope("export", out, "--data", tmp_path / "discs", "--out", tmp_path / "again")
    assert answer.status == 0, answer.err
    assert find_model(str(tmp_path / "again")).manifest == find_model(str(out)).manifest
    answer = reflexscope(*asked, "--out", tmp_path / "tuned", "--from", out, "--steps", 2)
    assert answer.status == 0, answer.err
    assert "Started from the weights of" in (tmp_path / "tuned" / "card.md").read_text(encoding="utf-8")


@needs_torch
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--folds", 2), "standard deviation over 2 folds"),
        (("--learning-curve",), "images the score went"),
        (("--search", 2), "best of 2: score"),
    ],
)
def test_studies_end_with_a_report(
    reflexscope: Command, asked: tuple[object, ...], tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    answer = reflexscope(*asked, "--out", tmp_path / "out", "--steps", 2, *words)
    assert answer.status == 0, answer.err
    assert said in answer.err
    assert (tmp_path / "out" / "report.md").is_file()


MISTAKES = {
    "no such recipe": (("nuclei2", "--data", "discs"), "did you mean nuclei"),
    "no such folder": (("tiny.toml", "--data", "nowhere"), "nowhere is not a folder"),
    "no such setting": (("tiny.toml", "--data", "discs", "--set", "training.rat=1"), "did you mean rate?"),
    "no such model": (("tiny.toml", "--data", "discs", "--from", "nucleus"), 'model "nucleus" is neither shipped'),
    "nothing to resume": (("tiny.toml", "--data", "discs", "--resume"), "nothing to go on with"),
    "no place to write": (("tiny.toml", "--data", "discs", "--out", "tiny.toml/out"), "tiny.toml/out/training cannot"),
    "figures of no model": (("tiny.toml", "--data", "discs", "--folds", "2", "--final"), "--final is for the card"),
    "two studies": (("tiny.toml", "--data", "discs", "--folds", "2", "--search", "2"), "give one of them"),
    "the other kind": (("tiny.toml", "--data", "discs", "--set", "kind=classifier"), "is the recipe of a classifier"),
}


@needs_torch
@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(
    reflexscope: Command, asked: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    answer = reflexscope("train", "segmenter", "--out", "out", *words)
    assert answer.status == 2
    assert answer.err.splitlines()[-1].startswith("error: ")
    assert said in answer.err.splitlines()[-1]


@needs_torch
def test_export_wants_the_folder_of_a_training(reflexscope: Command, asked: tuple[object, ...], tmp_path: Path) -> None:
    said = reflexscope.mistake("export", tmp_path / "discs", "--data", tmp_path / "discs")
    assert f"{tmp_path / 'discs'} is not the --out of a training: it holds no recipe.toml" in said


def test_without_torch_it_says_what_to_install(
    reflexscope: Command, asked: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_train, "find_spec", lambda name: None if name == "torch" else object())
    error = reflexscope.mistake(*asked, "--out", tmp_path / "out")
    assert 'training needs torch: pip install "reflexscope[train]"' in error
    assert "--extra-index-url" in error


@needs_torch
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(
    reflexscope: Command, asked: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(TerminalWatch):
        def stepped(self, progress: object) -> None:
            super().stepped(progress)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(cli_train, "TerminalWatch", Impatient)
    answer = reflexscope(*asked, "--out", tmp_path / "out")
    assert answer.status == cli_train.INTERRUPTED
    assert "interrupted; go on with the same command and --resume" in answer.err
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(cli_train, "TerminalWatch", TerminalWatch)
    answer = reflexscope(*asked, "--out", tmp_path / "out", "--resume")
    assert answer.status == 0, answer.err
    assert find_model(str(tmp_path / "out")).manifest.name == "tiny"


def test_the_second_ctrl_c_breaks_off() -> None:
    with pytest.raises(KeyboardInterrupt), TerminalWatch(Console(file=io.StringIO())) as watch:
        signal.raise_signal(signal.SIGINT)
        assert watch.stop()
        signal.raise_signal(signal.SIGINT)


def test_a_terminal_shows_loss_rate_score_and_steps() -> None:
    shown = io.StringIO()
    progress = type("Progress", (), {"step": 3, "loss": 0.5, "rate": 0.001})()
    with TerminalWatch(Console(file=shown, force_terminal=True, width=120)) as watch:
        watch.begin("tiny", 8)
        watch.validated(type("Validation", (), {"step": 2, "loss": 0.6, "score": 0.7})())
        watch.stepped(progress)
    for words in ("tiny", "3/8", "loss 0.5000", "rate 1.0e-03", "score 0.7000"):
        assert words in shown.getvalue()


def test_a_model_of_another_name_does_not_claim_what_the_recipe_says_of_the_shipped_one() -> None:
    assert list(cli_train._settings("mine", "", None)) == [
        "name='mine'",
        "summary='a network of your own'",
        "limits=[]",
    ]
    assert list(cli_train._settings("", "nuclei", 5)) == ["start='nuclei'", "training.steps=5"]
