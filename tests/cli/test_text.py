"""Texts from files reach the terminal as texts: nothing in them is obeyed, and no line of them is taken for ours."""

import json

import numpy as np
import pytest

from onebit.cli.main import main
from onebit.format.file import save_graph
from onebit.format.graph import Graph, InputSpec, Node
from onebit.text import format_bytes, parse_bytes, printable, text_table

EVIL = "\x1b[31mred\r\nforged line\t\u202eesrever\x9b2J\u2028\x7f"
RAW = set(EVIL) - set(map(chr, range(0x20, 0x7F))) - {"\n"}


def test_printable_escapes_what_a_terminal_obeys():
    assert printable(EVIL) == (r"\x1b[31mred\r\nforged line\t\u202eesrever\x9b2J\u2028\x7f")
    assert printable("Katze, 猫, قط, 🐈") == "Katze, 猫, قط, 🐈"
    assert printable("\ud800\0") == r"\ud800\x00"


def test_printable_caps_the_length():
    assert printable("x" * 300) == "x" * 197 + "..."
    assert printable("x" * 200) == "x" * 200
    assert printable([1, 2], limit=4) == "[..."


def test_tables():
    assert text_table([("a", 1), ("long", "")], header=("name", "n"), sums=[("all", 1)], indent="  ") == (
        "  name  n\n  -------\n  a     1\n  long\n  -------\n  all   1"
    )
    assert text_table([("a", "b")]) == "a  b"
    assert text_table([]) == ""
    with pytest.raises(ValueError, match="zip"):
        text_table([("a", "b"), ("c",)])
    assert text_table([("a\nb", EVIL)]).count("\n") == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1000", 1000), ("2GiB", 2**31), ("1.5 GiB", 3 * 2**29), ("500MB", 5 * 10**8), ("3k", 3000), ("7B", 7)],
)
def test_sizes_are_read_as_people_write_them(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e9", "2 gigabytes", "1,5GiB", "nan", "inf", "2GiBs"])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(ValueError, match="such as 2GiB or 500MB, got"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (3 * 2**29, "1.5 GiB"), (2**43, "8192 GiB")],
)
def test_sizes_are_told_in_three_digits(count, text):
    assert format_bytes(count) == text


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A packed file, a classifier of one pixel, that has control characters wherever a text may have them; names of
    nodes and values may not.
    """
    store = {"step": "store", "output": "y"}
    node = Node("n", "elementwise", ("image",), epilogue=(store,), source=f"s{EVIL}", note=f"o{EVIL}")
    graph = Graph(
        InputSpec(1, 1, 2, (0.0,) * 2, (1.0,) * 2, "other"), (node,), "y", {}, (f"a{EVIL}", f"b{EVIL}"),
        {f"p{EVIL}": f"q{EVIL}", "model": f"m{EVIL}", "list": [EVIL]},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("evil")
    save_graph(graph, folder / "evil.onebit")
    np.save(folder / "image.npy", np.float32([[[1.0]], [[2.0]]]))
    return folder


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (["inspect", "evil.onebit"], None),
        (["run", "evil.onebit", "image.npy"], 1),
        (["verify", "evil.onebit", "image.npy"], None),
        (["bench", "evil.onebit", "--seconds", "0.01", "--profile"], None),
        (["bench", "evil.onebit", "--seconds", "0.01", "--plot", "plot.png"], None),
    ],
    ids=lambda value: "-".join(value[::3]) if isinstance(value, list) else "",
)
def test_no_verb_prints_texts_of_a_file_as_they_are(evil, argv, lines, capsys, monkeypatch):
    if "--plot" in argv:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(evil)
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert not RAW & set(printed)
    assert not [line for line in printed.splitlines() if line.startswith("forged")]
    assert lines is None or printed.count("\n") == lines


def test_json_keeps_the_texts(evil, capsys):
    assert main(["inspect", str(evil / "evil.onebit"), "--json"]) == 0
    printed = capsys.readouterr().out
    assert not RAW & set(printed)
    assert json.loads(printed)["classes"] == [f"a{EVIL}", f"b{EVIL}"]


def test_errors_are_printable_too(evil, tmp_path, capsys):
    data = (evil / "evil.onebit").read_bytes()
    (tmp_path / "cut.onebit").write_bytes(data.replace(b'\\"elementwise\\"', b'\\"elementwisE\\"'))
    assert main(["inspect", str(tmp_path / "cut.onebit")]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert not RAW & set(printed)


def test_a_name_with_dollars_is_drawn_as_it_is(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    node = Node(r"a $\frac{1$ b $", "elementwise", ("image",), epilogue=({"step": "store", "output": "y"},))
    save_graph(Graph(InputSpec(1, 1, 1, (0.0,), (1.0,), "other"), (node,), "y", {}), tmp_path / "a$x$.onebit")
    argv = ["bench", str(tmp_path / "a$x$.onebit"), "--seconds", "0.01", "--plot", str(tmp_path / "plot.png")]
    assert main(argv) == 0
