"""The floor plan: a room imports only from rooms above it, nothing imports in a circle, engines stay in their room."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "deeptrade"

ROOMS = (
    "memory",
    "making",
    "sources",
    "store",
    "data",
    "planning",
    "model",
    "training",
    "profiles",
    "judging",
    "trading",
    "report",
    "notebook",
    "cluster",
    "commands",
)
"""From the first room to the last; the files on the top level are the ground below all of them, but for the face."""

FACE = {"", "__main__", "cli"}
ENGINES = {"dask", "distributed", "ray", "joblib", "obstore", "fsspec", "s3fs", "boto3", "pyspark"}
MOST_TOP_LEVEL_FILES = 12


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(name: str) -> Iterator[str]:
    """Every module that a module imports anywhere in it: at its top, in a function, or for types alone."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{module}.{alias.name}".strip(".")
                yield inner if node.level and inner in MODULES else module


OWN_IMPORTS = {name: {one for one in imports_of(name) if one in MODULES and one != name} for name in MODULES}


def room_of(name: str) -> str:
    return name.partition(".")[0]


def height(name: str) -> int:
    """0 for the ground, then one more for each room; the face stands above all."""
    if name in FACE:
        return len(ROOMS) + 1
    return ROOMS.index(room_of(name)) + 1 if room_of(name) in ROOMS else 0


def test_every_folder_of_the_package_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(ROOMS)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in FACE])
def test_a_room_imports_only_from_rooms_above_it(name):
    # The version is all that the face gives to others.
    below = {one for one in OWN_IMPORTS[name] - {""} if height(one) > height(name)}
    assert not below, f"{name} imports {', '.join(sorted(below))}"


def test_no_modules_import_each_other_in_a_circle():
    inside = {name: {one for one in OWN_IMPORTS[name] if one} for name in MODULES if name}
    TopologicalSorter(inside).prepare()  # raises CycleError


def test_engines_are_imported_only_by_the_room_of_engines():
    for name in MODULES:
        engines = {one.partition(".")[0] for one in imports_of(name)} & ENGINES
        assert not engines or room_of(name) == "cluster" or name == "sources.remote.client", f"{name} imports {engines}"


def test_the_top_level_holds_a_dozen_files_at_most():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_TOP_LEVEL_FILES


@pytest.mark.parametrize("room", sorted({room_of(name) for name in MODULES if room_of(name) in ROOMS}))
def test_every_room_says_what_lives_in_it(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
    assert text
    assert len(text.splitlines()) >= 3, f"{room}/__init__.py says too little"


def test_no_test_imports_from_another_test():
    tests = PACKAGE.parent / "tests"
    for path in tests.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                assert node.module.startswith("tests.support"), f"{path.name} imports {node.module}"
