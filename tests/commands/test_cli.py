import errno
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import pytest

from deeptrade.cli import _build_parser, main
from deeptrade.errors import standing_in
from deeptrade.notebook.execute import notebook_path
from deeptrade.notebook.parameters import declared
from deeptrade.settings import FitSettings
from deeptrade.store.ledger import read_ledger
from tests.support.markets import make_market

ROOT = Path(__file__).parents[2]


def deeptrade(*arguments, **options):
    """Run the command as a user would; text of stdout and stderr is captured."""
    command = [sys.executable, "-m", "deeptrade", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def in_this_process(capsys, *arguments):
    """Run the command without the seconds that another process takes to start."""
    code = main([*map(str, arguments)])
    told = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, code, told.out, told.err)


def assert_one_line(result, *words):
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_profile_writes_its_file_and_one_line(market, tmp_path):
    result = deeptrade("profile", market.path, "--out", tmp_path / "profile")
    assert result.returncode == 0
    said, found = result.stdout.splitlines()
    assert said.startswith("market has no store: rows are read from its text")
    assert found.startswith("market: 60 rows, 0 rejected, 3 features, 2 horizons, 2023-11-14T22:13:20+00:00 to")
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == ["ledger.csv", "profile.json"]


def test_one_of_a_thing_is_not_said_in_the_plural(tmp_path, capsys):
    market = make_market(tmp_path / "one.csv", rows=1, horizons=1, shapes={"arr_5m": (7, 3)})
    for arguments in (["compile", market.path], ["profile", market.path, "--out", tmp_path / "profile"]):
        assert main([*map(str, arguments)]) == 0
    said = capsys.readouterr().out
    assert "one.dtstore: 1 row stored, 0 rejected; 1 row parsed in " in said
    assert "one: 1 row, 0 rejected, 1 feature, 1 horizon, 2023-" in said


def test_a_limit_without_a_unit_is_one_line_that_asks_for_it(market, tmp_path, capsys):
    result = in_this_process(capsys, "fit", "--csv", market.path, "--out", tmp_path / "out", "--memory_limit", "300")
    assert_one_line(result, "deeptrade fit: size '300' has no unit; use 300MiB or 300GiB, or 300B if bytes are meant")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["profile", "optimize", "run"])
def test_a_missing_file_is_one_line_with_a_next_step(tmp_path, command):
    result = deeptrade(command, tmp_path / "none.csv", "--out", tmp_path / "out")
    assert_one_line(result, f"deeptrade {command}: ", "none.csv does not exist", "deeptrade synth")
    assert not (tmp_path / "out").exists()


def test_the_original_command_says_how_to_get_its_file(tmp_path):
    command = (
        "--model_size medium --batch_size 2 --grad_accum --accum_steps 4 --skip_rl --chunk_size 5000 --cache_batches 8"
    )
    result = subprocess.run(
        [sys.executable, ROOT / "fitter.py", *command.split()], capture_output=True, text=True, cwd=tmp_path
    )
    assert_one_line(result, "deeptrade synth training_data/training_data.csv --rows 2000")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["bad.csv is empty"]),
        (b"timestamp,arr_a,y_1\n", ["header but no rows"]),
        (bytes(range(256)) * 100, ["not a text file"]),
        (b'timestamp,arr_a\n1,"[1]"\n', ["no targets", "'price'"]),
        (b'timestamp,arr_a,y_2\n1,"[1]",1\n', ["'y_1' is missing"]),
    ],
)
def test_files_that_are_no_data_are_one_line(tmp_path, content, words):
    (tmp_path / "bad.csv").write_bytes(content)
    for command in (["profile", "bad.csv", "--out", "out"], ["fit", "--csv", "bad.csv", "--out", "out"]):
        assert_one_line(deeptrade(*command, cwd=tmp_path), *words)
        assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_one_line(tmp_path):
    (tmp_path / "months").mkdir()
    assert_one_line(
        deeptrade("profile", tmp_path / "months", "--out", tmp_path / "out"), "holds no data files; expected"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run as another user")
def test_an_unreadable_file_is_one_line(market, tmp_path):
    market.path.chmod(0)
    tmp_path.chmod(0o777)
    for parent in takewhile(lambda parent: parent != Path(tempfile.gettempdir()), tmp_path.parents):
        parent.chmod(0o755)
    code = (
        "import os, sys, deeptrade.profiles.profile, deeptrade.cli\n"
        "os.setuid(65534)\n"
        f"sys.exit(deeptrade.cli.main(['profile', {str(market.path)!r}, '--out', {str(tmp_path / 'out')!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert_one_line(result, "reading market.csv: Permission denied")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
@pytest.mark.parametrize("command", ["profile", "synth"])
def test_a_full_disk_is_one_line_and_leaves_nothing(market, tmp_path, command):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        arguments = {"profile": [market.path, "--out", disk], "synth": [disk / "out.csv", "--rows", "50"]}[command]
        (disk / "ballast").write_bytes(bytes(12 << 10))
        assert_one_line(deeptrade(command, *arguments), "No space left on device")
        assert {path.name for path in disk.iterdir()} <= {"ballast", "ledger.csv"}
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "--epoch", "3"], ["'--epoch' is not an option", "did you mean --epochs?"]),
        (["fit", "--batch-size", "x"], ["--batch_size: 'x' is not a whole number, such as 32"]),
        (["fit", "--rl_fee", "10bp"], ["--rl_fee: '10bp' is not a number, such as 0.001"]),
        (["fit", "--batch_size", "0"], ["batch_size=0 is not accepted; use at least 1"]),
        (["fit", "--model_size", "huge"], ["invalid choice: 'huge'"]),
        (["trane"], ["invalid choice: 'trane'"]),
        ([], ["required: COMMAND"]),
    ],
)
def test_wrong_options_are_one_line(arguments, words, capsys):
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    for word in words:
        assert word in error


def test_options_are_the_settings_with_their_defaults_and_help():
    actions = {action.dest: action for action in _build_parser()[1]["fit"]._actions}
    for item in fields(FitSettings):
        action = actions[item.name]
        assert action.option_strings == [f"--{item.name}"]
        assert action.help.startswith(item.metadata["help"])
        if not isinstance(item.default, bool):
            assert action.help.endswith(f"[{item.default}]")


def test_the_help_of_run_names_every_parameter_that_it_takes(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    told = capsys.readouterr().out
    notebooks = [notebook_path(name) for name in ("01_profile_dataset", "02_auto_optimize", "03_train")]
    known = {name for notebook in notebooks for name in declared(notebook)} - {"csv", "out", "plan"}
    listed = {
        line.split()[0]: line for line in told[told.index("parameters of the notebooks") :].splitlines()[1:] if line
    }
    assert set(listed) >= known
    assert not {"csv", "out", "run", "plan"} & set(listed)
    assert listed["batch_size"].split(maxsplit=1)[1] == "rows per forward and backward pass [4]"


def test_hyphens_and_underscores_are_one(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=20)
    assert main(["profile", str(market.path), "--out", str(tmp_path / "a"), "--max-rows=7"]) == 0
    assert '"read": 7' in (tmp_path / "a" / "profile.json").read_text()


def test_a_reader_that_leaves_does_not_end_in_a_traceback(market, tmp_path):
    command = f"{sys.executable} -m deeptrade profile {market.path} --out {tmp_path / 'p'} | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in result.stderr


def test_a_reader_that_leaves_does_not_end_the_work(market, tmp_path):
    command = f"{sys.executable} -m deeptrade compile {market.path} --store {tmp_path / 's.dtstore'} | true"
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "s.dtstore" / "manifest.json").exists()


def test_a_full_standard_output_is_one_line(market, tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "deeptrade", "profile", market.path, "--out", tmp_path / "p"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert_one_line(result, "writing the output: No space left on device")


def system_error(number, path=None):
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    "error",
    [
        system_error(errno.ENOENT, "templates/ours.html.j2"),
        system_error(errno.EEXIST, "ours"),
        system_error(errno.EBADF),
        TypeError("ours"),
        KeyError("ours"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("command", ["profile", "report"])
def test_a_bug_of_ours_is_no_error_of_the_user(monkeypatch, finished_run, tmp_path, error, command):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("deeptrade.profiles.profile.profile", fail)
    monkeypatch.setattr("deeptrade.report.index.write_page", fail)
    arguments = {"profile": ["m.csv", "--out", str(tmp_path)], "report": [str(finished_run)]}[command]
    with pytest.raises(type(error)) as caught:
        main([command, *arguments])
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (system_error(errno.ENOMEM), "using the system: Cannot allocate memory; free some memory"),
        (system_error(errno.ENOSPC), "using the system: No space left on device; free some space"),
        (system_error(errno.EROFS, "/cdrom/x"), "using /cdrom/x: Read-only file system; check the path"),
    ],
    ids=repr,
)
def test_what_only_the_user_can_mend_is_one_line_wherever_it_happens(monkeypatch, capsys, error, line):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("deeptrade.profiles.profile.profile", fail)
    assert main(["profile", "m.csv", "--out", "o"]) == 2
    assert capsys.readouterr().err.startswith(f"deeptrade profile: {line}")


def test_a_file_where_a_folder_should_be_is_one_line(market, tmp_path, finished_run):
    (tmp_path / "file").touch()
    grid = ["run", market.path, "--out", tmp_path / "file", "--grid", "seed=1,2"]
    for command in (grid, ["compare", finished_run, "--out", tmp_path / "file"]):
        assert_one_line(deeptrade(*command), "File exists; check the path")
    assert_one_line(deeptrade("report", "x" * 300), "File name too long")


def test_compile_ends_with_the_rejected_rows_by_reason_and_their_ledger(bad_market, tmp_path, capsys):
    store = tmp_path / "s.dtstore"
    for _ in ("made", "there already"):
        result = in_this_process(capsys, "compile", bad_market.path, "--store", store, "--max_bad_rows", "0.1")
        *_, where, last = result.stdout.splitlines()
        assert where == f"store: {store}"
        entries = read_ledger(store / "ledger.csv")
        assert last.startswith(f"{len(entries)} rows rejected (")
        assert last.endswith(f", listed in {store / 'ledger.csv'}")
        for reason in {entry.reason for entry in entries}:
            assert f"{sum(entry.reason == reason for entry in entries)} {reason}" in last


def test_a_refused_compile_leaves_the_ledger_beside_the_store_until_one_succeeds(bad_market, tmp_path, capsys):
    ledger = bad_market.path.with_name(f"{bad_market.path.stem}.dtstore.ledger.csv")
    result = in_this_process(capsys, "compile", bad_market.path, "--max_bad_rows", "0")
    assert_one_line(result, "rows are rejected", f"they are listed in {ledger}")
    refused = read_ledger(ledger)
    assert f"{len(refused)} of 200 rows are rejected" in result.stderr
    assert in_this_process(capsys, "compile", bad_market.path, "--max_bad_rows", "0.1").returncode == 0
    assert not ledger.exists()
    assert read_ledger(bad_market.path.with_suffix(".dtstore") / "ledger.csv") == refused


def test_where_the_ledger_cannot_be_left_the_reason_is_still_told(bad_market, tmp_path, capsys):
    bad_market.path.with_name(f"{bad_market.path.stem}.dtstore.ledger.csv").mkdir()
    result = in_this_process(capsys, "compile", bad_market.path, "--max_bad_rows", "0")
    assert_one_line(result, "of 200 rows are rejected", "their list could not be left")


def test_a_store_is_compiled_verified_and_exported(market, tmp_path):
    first = deeptrade("compile", market.path)
    assert first.returncode == 0
    assert first.stdout.splitlines()[-1] == f"store: {tmp_path / 'market.dtstore'}"
    again = deeptrade("compile", market.path, "--full-check")
    assert "holds this data already, nothing was changed" in again.stdout
    store = tmp_path / "market.dtstore"
    assert deeptrade("verify", store).stdout == f"{store}: every block of every file matches its checksum\n"
    assert deeptrade("export", store, tmp_path / "m.parquet").returncode == 0
    content = bytearray((store / "targets.f32").read_bytes())
    content[5] ^= 4
    (store / "targets.f32").write_bytes(content)
    assert_one_line(deeptrade("verify", store), "is damaged: targets.f32, block 0 of 1; compile it again with --fresh")
    assert_one_line(deeptrade("verify", tmp_path), "is not a store", "deeptrade compile")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["synth", ".", "--rows", "2"], ["is not a file"]),
        (["profile", "", "--out", "out"], ["no data is given"]),
        (["fit", "--csv", ""], ["csv='' names no data"]),
        (["fit", "--learning_rate", "inf"], ["learning_rate=inf is not accepted; use a finite number"]),
    ],
)
def test_values_that_name_nothing_are_one_line(tmp_path, arguments, words):
    assert_one_line(deeptrade(*arguments, cwd=tmp_path), *words)


@pytest.mark.parametrize("content", ["{}", '{"status": "ok"}', "[1]"])
@pytest.mark.parametrize("name", ["result.json", "plan.json", "profile.json", "memory.jsonl"])
def test_a_report_on_files_of_something_else_is_one_line(capsys, tmp_path, name, content):
    (tmp_path / name).write_text(content + "\n")
    assert_one_line(in_this_process(capsys, "report", tmp_path), str(tmp_path))


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "a\n1,2\n1,2,3\n", "\x00\xff\n"])
def test_a_history_of_something_else_is_one_line(capsys, finished_run, tmp_path, content):
    shutil.copytree(finished_run / "train", tmp_path / "train")
    (tmp_path / "train" / "history.csv").write_text(content)
    for command in ("report", "compare"):
        assert_one_line(in_this_process(capsys, command, tmp_path), "history.csv does not belong to a run")


def test_a_comparison_of_a_file_of_something_else_is_one_line(capsys, tmp_path):
    (tmp_path / "result.json").write_text('{"status": "ok"}')
    assert_one_line(
        in_this_process(capsys, "compare", tmp_path), "result.json does not belong to a run: it has no 'rows'"
    )


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("numpy", "x = 1"),
        ("numpy", "raise RuntimeError('not a library')"),
        ("numpy", "def ("),
        ("xxhash", "x = 1"),
        ("numba/__init__", "x = 1"),
    ],
)
def test_a_module_that_hides_an_installed_package_is_one_line_that_names_its_file(tmp_path, module, text):
    file = tmp_path / "mine" / f"{module}.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "mine"), str(ROOT)])}
    code = "from deeptrade.cli import main; raise SystemExit(main())"
    make_market(tmp_path / "m.csv", rows=20)
    command = [sys.executable, "-P", "-c", code, "compile", "m.csv"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    name = module.partition("/")[0]
    assert_one_line(result, f"{file} is imported in place of the installed package {name!r}", "rename it")


def test_a_package_installed_elsewhere_may_take_the_place_of_another(tmp_path, monkeypatch):
    (tmp_path / "xxhash.py").write_text("")
    (tmp_path / "xxhash-9.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "xxhash", SimpleNamespace(__file__=str(tmp_path / "xxhash.py")))
    assert standing_in(AttributeError("ours")) == ""
    (tmp_path / "xxhash-9.0.dist-info").rmdir()
    assert "in place of the installed package 'xxhash'" in standing_in(AttributeError("ours"))
