"""A working folder whose modules have the names of Python's own and of libraries."""

from pathlib import Path

NAMES = ("random", "csv", "types", "logging", "json", "typing", "queue", "keras", "numpy", "tensorflow", "pandas")


def write_shadows(folder: Path) -> Path:
    """Write modules that end a process which imports them, and a helper of the user's that does not."""
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the working folder was imported')\n")
    (folder / "helper.py").write_text("ANSWER = 42\n")
    return folder
