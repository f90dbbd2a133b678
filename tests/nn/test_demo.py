import builtins
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import nn
from nn import demo


@pytest.fixture
def missing(monkeypatch):
    """Make some packages impossible to import."""

    def hide(*names):
        original = builtins.__import__

        def guarded(name, *args, **kwargs):
            if name.partition(".")[0] in names:
                raise ImportError(f"No module named {name!r}")
            return original(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", guarded)

    return hide


def test_it_runs_end_to_end(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert demo.main(["--out", str(out), "--epochs", "3", "--seed", "1", "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert "100 flowers to learn from, 50 held out" in printed
    assert printed.count("epoch    loss") == 2
    difference = float(printed.partition("largest difference ")[2].split()[0])
    assert difference < 1e-15
    for name in ("neuron.svg", "loss.png", "two_moons.png"):
        assert str(out / name) in printed
    assert {path.name for path in out.iterdir()} == {"neuron.svg", "loss.png", "two_moons.png"}
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    svg = "".join(ElementTree.parse(out / "neuron.svg").getroot().itertext())
    assert all(text in svg for text in ("w[0]", "x[1]", "tanh", "grad", "loss"))


@pytest.mark.slow
def test_iris_is_learnt_in_the_fixed_split(capsys):
    _, _, records = demo._learn_iris(seed=0, epochs=100, screen=demo.Screen())
    assert records[-1].metrics["accuracy"] >= 0.95


def test_same_seed_same_numbers(capsys):
    runs = []
    for seed in (3, 3, 4):
        net, _, records = demo._learn_iris(seed, 2, demo.Screen())
        runs.append(([p.data.hex() for p in net.parameters()], records))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "expected a whole number from 1, not '0'"),
        (["--epochs", "ten"], "not 'ten'"),
        (["--seed", "x"], "invalid int value: 'x'"),
        (["--speed", "9"], "unrecognized arguments: --speed 9"),
        (["--out"], "expected one argument"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        demo.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("nn.demo: error: ")
    assert message in error
    assert error.count("\n") == 1


def assert_refused(out, capsys):
    assert demo.main(["--out", str(out), "--epochs", "1"]) == 2
    printed, error = capsys.readouterr()
    assert printed == ""  # refused before anything is trained
    assert error.startswith(f"nn.demo: error: cannot write to {out}: ")
    assert error.count("\n") == 1


def test_out_is_a_file(tmp_path, capsys):
    (tmp_path / "out").write_text("in the way")
    assert_refused(tmp_path / "out", capsys)
    assert_refused(tmp_path / "out" / "below", capsys)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_out_is_read_only(tmp_path, capsys):
    (tmp_path / "out").mkdir(mode=0o500)
    assert_refused(tmp_path / "out", capsys)


def test_without_matplotlib(tmp_path, capsys, missing):
    missing("matplotlib")
    demo._plot(tmp_path, nn.History(), None, [], [])
    assert 'pip install "chainrule[plots]"' in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_without_a_way_to_draw(tmp_path, capsys, missing):
    missing("graphviz")
    demo._draw_neuron(tmp_path / "neuron.svg")
    printed = capsys.readouterr().out
    assert printed.startswith("neuron.svg is left out: ")
    assert 'pip install "chainrule[drawing]"' in printed


class Terminal:
    def isatty(self):
        return True

    def write(self, text):
        return len(text)

    def flush(self):
        pass


def test_progress_bar_where_there_is_a_terminal(monkeypatch, capsys):
    assert demo._screen(True) == demo.Screen(iter, print)  # pytest's stderr is none
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert demo._screen(False) == demo.Screen(iter, print)
    screen = demo._screen(True)
    bar = screen.wrap([1, 2, 3])
    assert type(bar).__name__ == "tqdm"
    assert list(bar) == [1, 2, 3]
    screen.say("a line")
    assert capsys.readouterr().out == "a line\n"


def test_without_tqdm(monkeypatch, capsys, missing):
    monkeypatch.setattr(sys, "stderr", Terminal())
    missing("tqdm")
    assert demo._screen(True) == demo.Screen()
    assert 'pip install "chainrule[progress]"' in capsys.readouterr().out


def test_as_a_module(tmp_path):
    command = [sys.executable, "-m", "nn.demo", "--epochs", "-3"]
    done = subprocess.run(command, cwd=Path(demo.__file__).parents[1], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not '-3'" in done.stderr
