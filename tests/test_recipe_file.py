from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import Pretraining, Recipe, Stage
from app.errors import RecipeError
from app.recipe_file import RecipeFile, load_recipe_file, read_changes
from app.run_directory import new_run
from app.settings import to_json

GOOD = '''"""Tell one from another.

More of it.
"""
from app import Recipe, Stage, main

recipe = Recipe(name="good", stages={"train": Stage(epochs=3)})

if __name__ == "__main__":
    raise AssertionError("it was only to be read")
'''

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a file of a name; what loading it leaves behind is taken away."""
    before = sys.path[:]

    def put(content: str | bytes, name: str = "given.py") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    yield put
    sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("graft_recipe_")]:
        del sys.modules[name]


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as error:
        load_recipe_file(path)
    return str(error.value)


def test_a_recipe_file_is_read_and_not_run(write: Write) -> None:
    path = write(GOOD)
    recipe = Recipe(name="good", stages={"train": Stage(epochs=3)})
    assert load_recipe_file(path) == RecipeFile(path, recipe, None, "Tell one from another.")


def test_a_run_of_the_files_own_is_found(write: Write) -> None:
    found = load_recipe_file(write(GOOD + "\ndef run(recipe, directory=None):\n    return 7\n"))
    assert found.run is not None
    assert found.run(found.recipe, None) == 7


def test_a_file_may_import_what_lies_beside_it_and_declare_dataclasses(write: Write) -> None:
    write("EPOCHS = 4\n", "beside_the_recipe.py")
    path = write(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from beside_the_recipe import EPOCHS\n"
        "from app import Recipe, Stage\n"
        "@dataclass\nclass Mine:\n    x: int = EPOCHS\n"
        "recipe = Recipe(name='a', stages={'train': Stage(epochs=Mine().x)})\n"
    )
    assert load_recipe_file(path).recipe.stages["train"].epochs == 4


def test_a_file_is_decoded_as_python_decodes_it(write: Write) -> None:
    start = "# -*- coding: latin-1 -*-\nfrom app import Data, Recipe\n"
    path = write((start + "recipe = Recipe('a', Data(source='Äpfel'))\n").encode("latin-1"))
    assert load_recipe_file(path).recipe.data.source == "Äpfel"


def test_a_run_and_its_json_are_recipes_too(tmp_path: Path) -> None:
    run = new_run(Recipe(name="again"), tmp_path / "run")
    for path in (run.directory, run.directory / "recipe.json"):
        assert load_recipe_file(path).recipe == run.recipe


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("", "{path} defines no recipe: it needs `recipe = Recipe(...)`"),
        ("recipe = {'name': 'a'}", "{path} defines no recipe: it needs `recipe = Recipe(...)`"),
        ("x = 1\nx = = 2\n", "{path}, line 2: SyntaxError: invalid syntax"),
        ("x = 1\n\n1 / 0\n", "{path}, line 3: ZeroDivisionError: division by zero"),
        ("import no_such_module\n", "{path}, line 1: ModuleNotFoundError: No module named"),
        (
            "from app import Stage\n\nstage = Stage(epohcs=3)\n",
            "{path}, line 3: TypeError: Stage.__init__() got an unexpected keyword argument",
        ),
        (
            "from app import Recipe, override\nrecipe = override(Recipe(name='a'), {'epoks': 3})\n",
            "{path}, line 2: RecipeError: a has no setting 'epoks'. Did you mean 'epochs'?",
        ),
        (GOOD + "run = 3\n", "{path} defines `run`, but not as a function"),
        (b"\xff\xfe", "{path}"),
        (b"x = 1\0", "{path}"),
        (
            "import sys\n\nsys.exit(0)\n",
            "{path}, line 3: it runs as soon as it is read; put main(recipe) under",
        ),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_by_file_and_line(
    write: Write, content: str, answer: str
) -> None:
    path = write(content)
    assert refusal(path).startswith(answer.format(path=path))


def test_a_mistake_in_what_a_recipe_imports_is_told_by_that_file(write: Write) -> None:
    beside = write("x = = 2\n", "broken_beside_the_recipe.py")
    path = write("import broken_beside_the_recipe\n")
    assert refusal(path).startswith(f"{beside}, line 1: SyntaxError")


def test_an_exception_inside_a_function_names_the_line_of_the_recipe(write: Write) -> None:
    path = write("import json\n\ndef read():\n    return json.loads('{')\n\nread()\n")
    assert refusal(path).startswith(f"{path}, line 4: JSONDecodeError: ")


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("{", "this is no JSON"),
        (b"\xff", "'utf-8' codec"),
        ("{}", "it lacks 'name'"),
        ('{"name": "a", "seed": -1}', "seed is -1: it must be a whole number"),
    ],
)
def test_json_that_is_no_recipe_is_refused_by_file(write: Write, content: str, answer: str) -> None:
    path = write(content, "given.json")
    assert refusal(path).startswith(f"{path} cannot be read as a recipe: {answer}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.py", tmp_path / "none.json"):
        assert refusal(path) == f"{path} does not exist: give the file of a recipe"
    assert refusal(tmp_path).startswith(f"{tmp_path / 'recipe.json'} does not exist")


RECIPE = Recipe(name="a", stages={"train": Stage(epochs=1)})


@pytest.mark.parametrize("made_by", [RECIPE, Pretraining(name="b")])
def test_weights_of_a_run_bring_its_backbone_unless_another_is_given(
    made_by: Recipe | Pretraining, tmp_path: Path
) -> None:
    (tmp_path / "recipe.json").write_text(to_json(made_by))
    given = {"weights": str(tmp_path)}
    assert read_changes(RECIPE, given) == given | {"backbone": made_by.backbone}
    assert read_changes(Pretraining(name="c"), given) == given | {"backbone": made_by.backbone}
    other = given | {"backbone": "resnet50"}
    assert read_changes(RECIPE, other) == other


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"{}", b"\xff"])
def test_weights_of_what_is_no_run_change_nothing_else(
    content: bytes | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "recipe.json").write_bytes(content)
    for place in (str(tmp_path), "~no-such-user/run", "x" * 300):
        assert read_changes(RECIPE, {"weights": place}) == {"weights": place}
