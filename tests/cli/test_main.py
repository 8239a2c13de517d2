"""What holds for every verb: help with an example, exit codes, one-line errors, clean JSON, quick start."""

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from onebit.cli import main as cli
from onebit.cli.base import Failure

GOLDEN = Path(__file__).parents[1] / "golden" / "small-v1.onebit"


@pytest.fixture(autouse=True)
def _no_debugging(monkeypatch):
    monkeypatch.delenv("ONEBIT_DEBUG", raising=False)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("verb", cli.VERBS)
class TestEveryVerb:
    def test_help_has_an_example(self, verb, capsys):
        assert cli.main([verb, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"usage: onebit {verb}" in out
        assert f"example:\n  onebit {verb}" in out
        assert "--json" in out
        assert "lambda" not in out  # of a type that has no name

    def test_unknown_flag_is_wrong_usage_in_one_line(self, verb, capsys):
        assert cli.main([verb, "--no-such-flag"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("onebit: error: ")
        assert captured.err.count("\n") == 1

    def test_the_module_keeps_the_contract(self, verb):
        module = import_module(f"onebit.cli.{verb}")
        assert all(callable(getattr(module, name)) for name in ("parse", "run", "show"))


def test_top_level_help_lists_every_verb(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.VERBS)


def test_no_verb_and_unknown_verb(capsys):
    assert cli.main([]) == 2
    assert "usage: onebit VERB" in capsys.readouterr().err
    assert cli.main(["trian"]) == 2
    assert capsys.readouterr().err == "onebit: error: Unknown verb 'trian'; did you mean 'train'?\n"


def test_version(capsys):
    import onebit

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"onebit {onebit.__version__}\n"


@pytest.fixture
def zoo_that(monkeypatch):
    """Make ``onebit zoo`` fail with an exception."""

    def fail(error):
        def run(args):
            raise error

        monkeypatch.setattr("onebit.cli.zoo.run", run)

    return fail


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Failure("do this"), 1, "onebit: error: do this\n"),
        (ValueError("two\n  lines"), 1, "onebit: error: two lines\n"),
        (OSError(28, "cannot write 'x'"), 1, "onebit: error: cannot write 'x'\n"),
        (OSError("no room"), 1, "onebit: error: no room\n"),
        (FileNotFoundError(2, "No such file", "x"), 1, "onebit: error: No such file: 'x'\n"),
        (KeyboardInterrupt(), 130, "onebit: interrupted\n"),
        (KeyboardInterrupt("go on with: that"), 130, "onebit: go on with: that\n"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            1,
            "onebit: error: 'onebit zoo' needs torch, which is not installed: pip install \"onebit[train]\"\n",
        ),
        (
            ModuleNotFoundError("No module named 'PIL'", name="PIL"),
            1,
            "onebit: error: 'onebit zoo' needs PIL, which is not installed: pip install \"onebit[cli]\"\n",
        ),
        (
            ModuleNotFoundError("No module named 'onebit._core'", name="onebit._core"),
            1,
            "onebit: error: this installation is broken (No module named 'onebit._core'): install it again with "
            "pip install --force-reinstall onebit\n",
        ),
        (
            ImportError("undefined symbol: x", name="onebit._core"),
            1,
            "onebit: error: this installation is broken (undefined symbol: x): install it again with "
            "pip install --force-reinstall onebit\n",
        ),
        (
            MemoryError("std::bad_alloc"),
            1,
            "onebit: error: not enough memory (std::bad_alloc); take fewer or smaller images at a time\n",
        ),
        (
            MemoryError(),
            1,
            "onebit: error: not enough memory (the system gave no more); take fewer or smaller images at a time\n",
        ),
        (Failure("ESC \x1b[2J, \u202eturned"), 1, "onebit: error: ESC \\x1b[2J, \\u202eturned\n"),
        (
            ZeroDivisionError("oh"),
            1,
            "onebit: error: ZeroDivisionError: oh (this is a bug; ONEBIT_DEBUG=1 shows where)\n",
        ),
    ],
)
def test_failures_are_one_line(zoo_that, capsys, error, code, message):
    zoo_that(error)
    assert cli.main(["zoo", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == message


def test_debugging_shows_the_traceback(zoo_that, monkeypatch):
    zoo_that(ZeroDivisionError("oh"))
    monkeypatch.setenv("ONEBIT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["zoo"])


def test_json_is_alone_on_standard_output(monkeypatch, capsys):
    def run(args):
        print("chatter")
        return {"answer": 42}

    monkeypatch.setattr("onebit.cli.zoo.run", run)
    assert cli.main(["zoo", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"answer": 42}
    assert captured.err == "chatter\n"


def test_json_has_no_word_for_nan_and_infinity(monkeypatch, capsys):
    """NumPy's numbers and arrays, paths and tuples become what JSON has; what is not finite becomes null."""
    result = {
        "finite": 0.5,
        "nan": float("nan"),
        "list": [float("inf"), np.float32("-inf"), (1, Path("a/b"))],
        "numpy": {"scalar": np.int64(3), "array": np.array([[1.0, np.nan]], np.float32), "flag": np.bool_(True)},
        "text": "\x1b\u202e",
        4: None,
    }
    monkeypatch.setattr("onebit.cli.zoo.run", lambda args: result)
    assert cli.main(["zoo", "--json"]) == 0
    printed = capsys.readouterr().out

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(printed, parse_constant=refuse) == {
        "finite": 0.5,
        "nan": None,
        "list": [None, None, [1, "a/b"]],
        "numpy": {"scalar": 3, "array": [[1.0, None]], "flag": True},
        "text": "\x1b\u202e",
        "4": None,
    }
    assert printed.isascii()


@pytest.mark.parametrize(("verb", "missing", "extra"), [("run", "PIL", "cli"), ("verify", "torch", "train")])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch, capsys, verb, missing, extra):
    def run(args):
        raise ModuleNotFoundError(f"No module named '{missing}.x'", name=f"{missing}.x")

    monkeypatch.setattr(f"onebit.cli.{verb}.run", run)
    assert cli.main([verb, "net.onebit", "a.png"]) == 1
    line = f"onebit: error: 'onebit {verb}' needs {missing}, which is not installed: pip install \"onebit[{extra}]\"\n"
    assert capsys.readouterr().err == line


def test_an_output_that_lacks_a_letter_shows_its_number():
    code = (
        "import sys; from onebit.cli import main, zoo; zoo.run = lambda args: {'zoo': {'ü': 'ж'}}; main.main(['zoo'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=True
    )
    assert done.stdout == b"zoo:\n  \\xfc  \\u0436\n"


def test_quick_start_without_torch():
    """Help and the parsers of the verbs that need the runtime only import no torch."""
    code = (
        "import sys\n"
        "from onebit.cli.main import main\n"
        "main(['--help'])\n"
        "main(['run', '--help'])\n"
        "main(['inspect', '--help'])\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_missing_parser_library_names_the_extra():
    code = (
        "import sys\n"
        "sys.modules['jsonargparse'] = None\n"
        "from onebit.cli.main import main\n"
        "sys.exit(main(['inspect', 'x.onebit']))"
    )
    done = python(code)
    assert done.returncode == 1
    assert done.stderr == (
        "onebit: error: 'onebit inspect' needs jsonargparse, which is not installed: pip install \"onebit[cli]\"\n"
    )


def test_a_reader_that_leaves_is_no_failure():
    code = "import sys; from onebit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "inspect", str(GOLDEN)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    assert child.wait() == 0
    assert child.stderr.read() == b""
    child.stderr.close()


def test_zoo_walks_every_registry(capsys):
    from onebit.data import DATASETS
    from onebit.models import MODELS
    from onebit.recipes import RECIPES

    assert cli.main(["zoo", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    for kind, registry in (("models", MODELS), ("recipes", RECIPES), ("datasets", DATASETS)):
        assert list(listing[kind]) == list(registry)
    assert all(line for names in listing.values() for line in names.values())
    assert cli.main(["zoo", "recipes"]) == 0
    assert "vgg-small-digits" in capsys.readouterr().out


@pytest.mark.slow
def test_interrupting_the_process(tmp_path):
    """A real SIGINT to a real process: exit code 130, one line that says how to go on, and it does."""
    arguments = ["train", "vgg-small-digits", "--model_options.width", "0.0625", "--out", str(tmp_path / "run")]
    start = (
        "import sys, torch; torch.set_num_threads(1); from onebit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    child = subprocess.Popen([sys.executable, "-c", start, *arguments], stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if line.startswith("epoch 2/"):
            child.send_signal(signal.SIGINT)
            break
    rest = child.stderr.read()
    child.stderr.close()
    assert child.wait() == 130, rest
    last = rest.splitlines()[-1]
    assert last.startswith("onebit: interrupted after step ")
    assert last.endswith(f"go on with: onebit train --out {tmp_path / 'run'} --resume")
    assert "Traceback" not in rest
