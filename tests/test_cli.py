"""The command line, asked in processes of its own: most tests forbid them to load TensorFlow."""

from __future__ import annotations

import os
import re
import resource
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app import Recipe, settings
from app.recipe_file import load_recipe_file
from app.run_directory import new_run, open_run
from app.version import __version__

GRAFT = [sys.executable, "-c", "from app.cli import graft; graft()"]
HEAVY = ("tensorflow", "keras", "numpy", "albumentations", "sklearn", "scipy", "cv2", "tqdm")
COMMANDS = (
    "train",
    "pretrain",
    "show",
    "diagnose",
    "find-lr",
    "tune",
    "ablate",
    "evaluate",
    "export",
    "inspect",
    "predict",
    "serve",
    "backbones",
    "cache",
)
OWN = '''"""Says what it was given."""
from app import Recipe, Stage, main
from app.run_directory import new_run

recipe = Recipe(
    name="own", weights="none", stages={"warm_up": Stage(epochs=5), "fine_tune": Stage()}
)

def run(recipe, directory=None):
    print([stage.epochs for stage in recipe.stages.values()])
    return new_run(recipe, directory)

if __name__ == "__main__":
    main(recipe, run=run)
'''
BARE = '''"""Pretrains on generated images."""
from app import Pretraining, Unlabelled, main

recipe = Pretraining(name="bare", data=Unlabelled(generated=1.0))

if __name__ == "__main__":
    main(recipe)
'''
USUAL = OWN.replace("main(recipe, run=run)", "main(recipe)").replace("def run(", "def other(")

Answer = subprocess.CompletedProcess[str]
Ask = Callable[..., Answer]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with recipes, and modules whose import fails in place of the heavy ones."""
    for name in HEAVY:
        forbidden = tmp_path / "forbidden" / f"{name}.py"
        forbidden.parent.mkdir(exist_ok=True)
        forbidden.write_text(f"raise SystemExit('{name} was loaded')\n", "utf-8")
    (tmp_path / "own.py").write_text(OWN, "utf-8")
    (tmp_path / "usual.py").write_text(USUAL, "utf-8")
    (tmp_path / "bare.py").write_text(BARE, "utf-8")
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(place / "forbidden"), "COLUMNS": "80"}


@pytest.fixture
def ask(place: Path) -> Ask:
    """Runs `graft` with arguments, unable to load anything heavy."""

    def call(*arguments: str | bytes, command: list[str] | None = None) -> Answer:
        return subprocess.run(
            [*(command or GRAFT), *arguments],
            cwd=place,
            env=environment(place),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
            check=False,
        )

    return call


def told(answer: Answer) -> str:
    """What a mistake was answered with: the last line, and code 2."""
    assert (answer.returncode, answer.stdout) == (2, ""), answer.stderr
    *before, last = answer.stderr.splitlines()
    assert all(" -> " in line for line in before), "nothing but changes comes before"
    return last


def test_without_arguments_graft_lists_its_commands(ask: Ask) -> None:
    bare, help_ = ask(), ask("--help")
    assert bare.returncode == help_.returncode == 0
    assert bare.stdout == help_.stdout
    assert re.findall(r"^  (\w[\w-]*) {2,}\w", help_.stdout, re.MULTILINE) == list(COMMANDS)
    assert max(map(len, help_.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_of_its_own(ask: Ask, command: str) -> None:
    answer = ask(command, "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"usage: graft {command} ")


def test_the_version_is_told(ask: Ask) -> None:
    assert ask("--version").stdout == f"graft {__version__}\n"


def test_show_prints_every_setting_as_changed(ask: Ask, place: Path) -> None:
    answer = ask("show", "own.py", "--fine_tune.epochs", "3", "--head.units=64,32")
    recipe = load_recipe_file(place / "own.py").recipe
    lines = dict(line.split(" = ", 1) for line in answer.stdout.splitlines())
    assert lines == {
        **{path: settings.show(leaf.value) for path, leaf in settings.leaves(recipe).items()},
        "stages.fine_tune.epochs": "3",
        "head.units": "64,32",
    }
    changes = ["head.units: () -> 64,32", "stages.fine_tune.epochs: 10 -> 3"]
    assert (answer.returncode, answer.stderr.splitlines()) == (0, changes)


@pytest.mark.parametrize(
    ("called", "command", "has_run_dir"),
    [
        ("graft train own.py", [*GRAFT, "train", "own.py"], True),
        ("graft show own.py", [*GRAFT, "show", "own.py"], False),
        ("python own.py", [sys.executable, "own.py"], True),
    ],
)
def test_the_help_of_a_recipe_explains_every_setting(
    ask: Ask, place: Path, called: str, command: list[str], has_run_dir: bool
) -> None:
    answer = ask("--epochs", "3", "--help", command=command)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"usage: {called} ")
    assert "\nSays what it was given.\n" in answer.stdout
    assert ("--run-dir" in answer.stdout) is has_run_dir
    text = " ".join(answer.stdout.split())
    for path, leaf in settings.leaves(load_recipe_file(place / "own.py").recipe).items():
        assert f"--{path} {settings.show(leaf.value)} {leaf.about}" in text
    assert "Takes a whole number from 1 to 100000." in text


def test_backbones_are_listed_with_where_their_weights_are(ask: Ask) -> None:
    answer = ask("backbones")
    assert answer.returncode == 0
    assert re.search(r"^mobilenet_v2 +224 +2,257,984  ImageNet, ", answer.stdout, re.MULTILINE)
    assert re.search(r"^compact +96 .* embedded-v1, .*--backbone embedded$", answer.stdout, re.M)
    assert answer.stdout.splitlines()[-1].startswith("ImageNet weights are looked for in ")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("trian own.py", "graft has no command 'trian'. Did you mean 'train'?"),
        ("qqq", "graft has no command 'qqq'. `graft --help` lists them."),
        ("--verbose", "unrecognized arguments: --verbose; `graft --help` says more"),
        ("train", "the following arguments are required: RECIPE; `graft train --help` says"),
        ("show", "the following arguments are required: RECIPE; `graft show --help` says"),
        ("evaluate", "the following arguments are required: RUN; `graft evaluate --help` says"),
        ("export", "the following arguments are required: RUN; `graft export --help` says"),
        ("predict x", "the following arguments are required: FILE; `graft predict --help` says"),
        ("export x --ouput y", "unrecognized arguments: --ouput y; `graft --help` says more"),
        ("backbones x", "unrecognized arguments: x; `graft --help` says more"),
        ("train --epochs 3 own.py", "the recipe comes first: graft train RECIPE --epochs ..."),
        ("train none.py", "none.py does not exist: give the file of a recipe"),
        ("show none.py", "none.py does not exist: give the file of a recipe"),
        ("train own.py --epoks 3", "own has no setting 'epoks'. Did you mean 'epochs'?"),
        ("show own.py --epoks 3", "own has no setting 'epoks'. Did you mean 'epochs'?"),
        ("train own.py --epochs", "--epochs needs a value: --epochs VALUE"),
        ("train own.py --epochs --seed 3", "--epochs needs a value: --epochs VALUE"),
        ("train own.py epochs 3", "'epochs' is not understood: settings are --NAME VALUE"),
        ("train own.py -epochs 3", "'-epochs' is not understood: settings are --NAME VALUE"),
        ("train own.py --fine_tune 3", "own has no setting 'fine_tune'. It is a group: did"),
        ("train own.py --epochs ten", "stages.warm_up.epochs is 'ten': it must be a whole number"),
        ("train own.py --epochs 0", "stages.warm_up.epochs is 0: it must be a whole number from 1"),
        ("train own.py --dropout=", "head.dropout is '': it must be a number from 0 to 0.99"),
        ("train own.py --optimizer adma", "stages.warm_up.optimizer is 'adma': it must be one of"),
        ("train own.py --unfreeze top:0", "stages.warm_up.unfreeze is 'top:0': write top:<number"),
        ("train own.py --backbone mobilnet_v2", "there is no backbone 'mobilnet_v2'. Did you mean"),
        ("show own.py --backbone mobilnet_v2", "there is no backbone 'mobilnet_v2'. Did you mean"),
        ("show own.py --run-dir x", "own has no setting 'run_dir'."),
        ("train own.py --run-dir x --resume y", "--run-dir and --resume name two places"),
        ("train own.py --resume=", "the directory of the run is empty: give one"),
        ("train own.py --resume none", "none does not exist; `graft train` prints the directory"),
        ("train own.py --resume forbidden", "forbidden is no run: it has no recipe.json"),
        ("train own.py --resume begun", "begun is a run of another recipe (name: a -> own"),
        ("find-lr --stage x own.py", "the recipe comes first: graft find-lr RECIPE --stage ..."),
        ("find-lr own.py --stage x", "own has no stage 'x': it has warm_up, fine_tune"),
        ("find-lr own.py --stages x", "own has no setting 'stages'."),
        ("find-lr usual.py", "no images named: give a folder with --data.source FOLDER"),
        ("diagnose usual.py", "no images named: give a folder with --data.source FOLDER"),
        ("diagnose own.py --stage x", "own has no setting 'stage'."),
        ("ablate usual.py --over stages.fine_tune", "no images named: give a folder"),
        ("ablate own.py --over stages.x", "own has no"),
        ("ablate own.py --over head.dropuot", "own has no setting 'head.dropuot'. Did you mean"),
        ("ablate own.py --over label_smoothing", "label_smoothing"),
        ("ablate own.py --seeds many", "--seeds is 'many': it must be a whole number from 1"),
        ("train usual.py", "no images named: give a folder with --data.source FOLDER"),
        ("train usual.py --source none", "none does not exist: --data.source takes a folder"),
        ("train usual.py --weights none.h5", "there are no weights at none.h5: weights are"),
        ("train usual.py --run-dir forbidden", "forbidden is not empty: name a new directory"),
        ("train usual.py --run-dir own.py/x", "own.py/x cannot be written ("),
        ("train own.py --run-dir forbidden", "forbidden is not empty: name a new directory"),
        ("train bare.py", "bare.py defines no recipe: it needs `recipe = Recipe(...)`; `graft pre"),
        ("pretrain own.py", "own.py defines no recipe: it needs `recipe = Pretraining(...)`"),
        ("pretrain bare.py --resume forbidden", "forbidden is no run: it has no recipe.json;"),
        ("pretrain bare.py --resume none", "none is no run: it has no recipe.json; `graft pretrai"),
        ("pretrain bare.py --run-dir forbidden", "forbidden is not empty: name a new directory"),
        ("pretrain bare.py --generated 0", "no images named: give a folder with --data.source"),
        ("pretrain bare.py --weights none.h5", "there are no weights at none.h5: weights are"),
        ("pretrain bare.py --method simclr", "method is 'simclr': it must be one of"),
        ("evaluate none", "none does not exist; `graft train` prints the directory of a run"),
        ("evaluate forbidden", "forbidden is no run: it has no recipe.json; `graft train` prints"),
        ("export forbidden", "forbidden is no run: it has no recipe.json; `graft train` prints"),
        ("evaluate begun", "begun has no manifest.json: its training did not finish"),
        ("export begun", "begun has no manifest.json: its training did not finish"),
        ("evaluate halfway", "halfway has no model.keras: its training did not finish"),
        ("export halfway", "halfway has no model.keras: its training did not finish"),
        ("export unmeasured", "unmeasured has no metrics.json: `graft evaluate unmeasured` meas"),
        ("export whole --output own.py/x", "own.py/x cannot be written: give a folder to --output"),
        ("predict none x.jpg", "none does not exist; `graft export RUN` prints where it wrote one"),
        ("predict forbidden x.jpg", "forbidden holds no SavedModel; `graft export RUN` prints"),
        ("predict model x.jpg --output none/x.csv", "none/x.csv cannot be written: its folder"),
        ("predict model x.jpg --output forbidden", "forbidden is a folder: give the name of a CSV"),
    ],
)
def test_a_mistake_is_answered_in_one_line_before_anything_loads(
    ask: Ask, place: Path, arguments: str, answer: str
) -> None:
    recipe = Recipe(name="a")
    new_run(recipe, place / "begun")
    for name in ("halfway", "unmeasured", "whole"):
        run = new_run(recipe, place / name)
        run.write("manifest.json", {"seed": 0})
        if name != "halfway":
            run.model.touch()
    run.write("metrics.json", {"test": {}})
    (place / "model").mkdir()
    (place / "model" / "saved_model.pb").touch()
    before = sorted(place.rglob("*"))
    last = told(ask(*arguments.split(" ")))
    assert last.startswith(f"graft: {answer}")
    assert sorted(place.rglob("*")) == before, "a mistake leaves nothing behind"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("stage = Stage(epohcs=3)", "spoiled.py, line 3: TypeError: Stage.__init__() got an unex"),
        ("recipe = = 3", "spoiled.py, line 3: SyntaxError: invalid syntax"),
        ("recipe = 1 / 0", "spoiled.py, line 3: ZeroDivisionError: division by zero"),
        ("raise ValueError('a\\nb')", "spoiled.py, line 3: ValueError: a b"),
        ("pass", "spoiled.py defines no recipe: it needs `recipe = Recipe(...)`"),
        (
            "recipe = Recipe(name='a', stages={'b': Stage(epochs='ten')})",
            "stages.b.epochs is 'ten': it must be a whole number from 1 to 100000",
        ),
        ("recipe = Recipe(name='a', stages=[Stage()])", "stages is [Stage("),
        ("recipe = Recipe(name='a', head='big')", "head is 'big': it must be Head(...)"),
    ],
)
@pytest.mark.parametrize("command", ["train", "show"])
def test_a_mistake_in_a_recipe_file_is_answered_in_one_line(
    ask: Ask, place: Path, command: str, line: str, answer: str
) -> None:
    (place / "spoiled.py").write_text(f"from app import Recipe, Stage\n\n{line}\n", "utf-8")
    assert told(ask(command, "spoiled.py")).startswith(f"graft: {answer}")


def test_a_wrong_type_in_a_recipe_run_as_a_script_is_answered_in_one_line(
    ask: Ask, place: Path
) -> None:
    (place / "own.py").write_text(OWN.replace("Stage()", "Stage(epochs='ten')"), "utf-8")
    last = told(ask(command=[sys.executable, "own.py"]))
    assert last.startswith("graft: stages.fine_tune.epochs is 'ten': it must be a whole number")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--run-dir out", 0),
        ("--run_dir=out --epochs 3", 0),
        ("--run-dir out --fine_tune.epochs 4 --epochs=3 --dropout 0.5", 0),
        ("--run-dir out --epochs 3 --fine-tune.epochs 4", 0),
        ("--run-dir out --fine_tune.epochs 4 --epochs 3 --fine_tune.epochs 5", 0),
        ("--run-dir", 2),
        ("--run-dir own.py", 2),
        ("--epoks 3", 2),
        ("--epochs ten", 2),
        ("epochs 3", 2),
        ("--backbone mobilnet", 2),
    ],
)
def test_a_recipe_as_a_script_does_what_graft_train_does(
    ask: Ask, place: Path, arguments: str, code: int
) -> None:
    answers = []
    for command in ([*GRAFT, "train", "own.py"], [sys.executable, "own.py"]):
        answer = ask(*arguments.split(), command=command)
        ran = open_run(place / "out").recipe if code == 0 else None
        answers.append((answer.returncode, answer.stdout, answer.stderr, ran))
        if code == 0:
            (place / "out").rename(place / f"out-{len(answers)}")
    assert answers[0] == answers[1]
    assert answers[0][0] == code


def test_train_prints_the_run_last_and_says_each_change(ask: Ask, place: Path) -> None:
    answer = ask("train", "own.py", "--epochs", "3", "--fine_tune.epochs", "4", "--run-dir", "out")
    assert answer.stdout == "[3, 4]\nout\n"
    changes = ["stages.warm_up.epochs: 5 -> 3", "stages.fine_tune.epochs: 10 -> 4"]
    assert answer.stderr.splitlines() == changes
    again = ask("train", "out", "--run-dir", "again", "--source", "none")
    assert told(again) == (
        "graft: none does not exist: --data.source takes a folder, with one sub-folder a class"
        " where labels are needed, or a .csv file"
    )


def test_of_one_setting_said_twice_the_last_counts(ask: Ask) -> None:
    answer = ask("train", "own.py", "--epochs", "3", "--fine_tune.epochs", "4", "--epochs", "6")
    assert answer.stdout.startswith("[6, 6]\nruns/own/")


def test_a_value_after_an_equals_sign_may_begin_with_dashes(ask: Ask) -> None:
    assert "data.source = --odd\n" in ask("show", "own.py", "--data.source=--odd").stdout


def test_a_name_that_is_no_text_is_printed_as_it_is(ask: Ask) -> None:
    answer = ask("show", "own.py", "--data.source", b"photos-\xff")
    assert "data.source = photos-\udcff\n" in answer.stdout


def test_a_run_of_its_own_that_returns_no_run_is_told(ask: Ask, place: Path) -> None:
    (place / "own.py").write_text(OWN.replace("return new_run(", "new_run("), "utf-8")
    answer = ask("train", "own.py", "--run-dir", "out")
    assert answer.returncode == 2
    assert answer.stderr == "graft: own.py: its `run` must return the run that it made\n"


def test_a_recipe_that_runs_as_soon_as_it_is_read_is_told(ask: Ask, place: Path) -> None:
    (place / "own.py").write_text(OWN.partition("if __name__")[0] + "main(recipe)\n", "utf-8")
    answer = ask("train", "own.py")
    assert answer.returncode == 2
    assert 'put main(recipe) under `if __name__ == "__main__":`' in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_defect_in_a_run_of_its_own_shows_itself(ask: Ask, place: Path) -> None:
    (place / "own.py").write_text(OWN.replace("print(", "1 / 0, print("), "utf-8")
    answer = ask("train", "own.py")
    assert answer.returncode == 1
    assert answer.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_ctrl_c_says_so_and_leaves_with_130(place: Path) -> None:
    waiting = OWN.replace("print(", "print('waiting', flush=True), __import__('time').sleep(60), (")
    (place / "own.py").write_text(waiting, "utf-8")
    for command in ([*GRAFT, "train", "own.py"], [sys.executable, "own.py"]):
        process = subprocess.Popen(
            command,
            cwd=place,
            env=environment(place),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (130, "graft: stopped\n")


@pytest.mark.parametrize("arguments", ["--help", "backbones", "show own.py", "train own.py -h"])
def test_a_reader_that_has_left_is_no_mistake(place: Path, arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    answer = subprocess.run(
        [*GRAFT, *arguments.split()],
        cwd=place,
        env=environment(place),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (answer.returncode, answer.stderr) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    ["--help", "train --help", "ablate own.py --over x", "show own.py", "train own.py --epoks 3"],
)
def test_an_answer_takes_little_time(ask: Ask, arguments: str) -> None:
    def seconds(call: Callable[[], object]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        call()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def load_numpy() -> None:
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)

    # In turns with NumPy alone, which takes about as much: other work makes both slower.
    pairs = [(seconds(lambda: ask(*arguments.split())), seconds(load_numpy)) for _ in range(5)]
    assert statistics.median(ours / alone for ours, alone in pairs) < 2


def test_importing_app_loads_nothing_heavy(ask: Ask) -> None:
    code = "import sys, app, app.cli; print(*sys.modules)"
    loaded = ask(command=[sys.executable, "-c", code]).stdout.split()
    assert "app.cli" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {*HEAVY, "asyncio", "http"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("serve",), "the following arguments are required: EXPORT"),
        (("serve", "nowhere"), "nowhere does not exist; `graft export RUN` prints where"),
        (("serve", "."), ". holds no SavedModel"),
        (("serve", "x", "--port", "70000"), "'70000' is no whole number from 0 to 65535"),
        (("serve", "x", "--grpc-port", "-1"), "--grpc-port"),
        (("serve", "x", "--deadline", "nan"), "'nan' is no number of seconds"),
        (("serve", "x", "--versions", "0"), "'0' is no whole number from 1 to 100"),
        (("serve", "x", "--queue", "many"), "'many' is no whole number"),
    ],
)
def test_what_cannot_be_served_is_said_before_tensorflow_loads(
    ask: Ask, words: tuple[str, ...], said: str
) -> None:
    assert said in told(ask(*words))


def test_serving_says_which_packages_it_lacks(ask: Ask, place: Path) -> None:
    code = (
        "import sys; sys.modules['uvloop'] = sys.modules['starlette'] = None\n"
        "from app.cli import graft; graft()"
    )
    answer = ask("serve", ".", command=[sys.executable, "-c", code])
    assert told(answer) == (
        "graft: graft serve needs starlette, uvloop: pip install 'graft-vision[serving]'"
    )
