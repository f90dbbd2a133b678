import json
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodiff import Value
from nn import MLP, Adam, Module, load, save, storage


class Numbers(Module):
    def __init__(self, numbers):
        self.w = [Value(number) for number in numbers]


def written(folder, thing=None):
    path = Path(folder) / "state.json"
    save(thing or MLP(2, [3, 1], rng=Random(0)), path)
    return path


@given(numbers=st.lists(st.floats(), max_size=5))
def test_every_bit_comes_back(tmp_path_factory, numbers):
    path = written(tmp_path_factory.getbasetemp(), Numbers(numbers))
    again = Numbers([0.0] * len(numbers))
    load(again, path)
    assert [repr(w.data) for w in again.w] == [repr(number) for number in numbers]


def test_an_optimiser_can_be_saved_too(tmp_path):
    net = MLP(2, [2, 1], rng=Random(0))
    first, second = Adam(net.parameters(), 0.1), Adam(net.parameters(), 0.1)
    net([1.0, 2.0]).backward()
    first.step()
    load(second, written(tmp_path, first))
    assert second.state_dict() == first.state_dict()
    assert second.steps == 1


def test_a_file_is_plain_json_with_readable_names(tmp_path):
    net = MLP(2, [3, 1], rng=Random(0))
    content = json.loads(written(tmp_path, net).read_text("utf-8"))
    assert content["state"] == net.state_dict()


@given(data=st.data())
def test_any_damage_is_noticed_and_changes_nothing(tmp_path_factory, data):
    path = written(tmp_path_factory.getbasetemp())
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 2))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:place])
    else:
        digit = data.draw(st.sampled_from(b"0123456789abc\x00\xff"))
        if digit == whole[place]:
            return
        path.write_bytes(whole[:place] + bytes([digit]) + whole[place + 1 :])
    net = MLP(2, [3, 1], rng=Random(1))
    before = net.state_dict()
    with pytest.raises(ValueError, match=r"state\.json (is damaged|was not written by nn\.save|has the format)"):
        load(net, path)
    assert net.state_dict() == before


@pytest.mark.parametrize(
    "content", ["[]", "{}", "7", '{"state": {}}', json.dumps(MLP(1, [1], rng=Random(0)).state_dict())]
)
def test_other_json_is_named_as_such(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json was not written by nn\.save"):
        load(MLP(1, [1]), path)


def test_a_format_from_the_future_is_named(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text("utf-8").replace(storage.FORMAT, "chainrule state 9"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"has the format 'chainrule state 9', and this version reads"):
        load(MLP(2, [3, 1]), path)


def test_a_state_of_another_shape_says_which_file_it_was(tmp_path):
    with pytest.raises(ValueError, match=r"its layers\.0\.neurons has 3 entries, not 4") as raised:
        load(MLP(2, [4, 1]), written(tmp_path))
    assert "state.json" in raised.value.__notes__[0]


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(MLP(1, [1]), tmp_path / "none.json")


def test_the_thing_comes_before_the_path(tmp_path):
    net, path = MLP(1, [1]), str(tmp_path / "net.json")
    with pytest.raises(
        TypeError, match=r"^save takes a module, an optimiser or a training, then a path: not '.*net.json'"
    ):
        save(path, net)
    with pytest.raises(TypeError, match=r"^load takes a module"):
        load(path, net)


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "nowhere" / "x.json"
    with pytest.raises(FileNotFoundError) as raised:
        save(MLP(1, [1]), path)
    assert raised.value.filename == str(path)
    assert str(raised.value).endswith("x.json'")


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = written(tmp_path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="disk full"):
        save(MLP(2, [3, 1], rng=Random(5)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_the_name_leads_to_it(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append("fsync") or fsync(fd))
    monkeypatch.setattr(Path, "replace", lambda part, path: done.append("replace") or replace(part, path))
    written(tmp_path)
    assert done[:2] == ["fsync", "replace"]
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
