"""States in JSON files: whole or not at all, every bit of every float, and damage is noticed.

A file is written beside its name first and then takes its place in one step, so that a program that is killed while
it writes leaves the file of before. A checksum tells a file that was cut off or changed from one that is whole.

json, hashlib and pathlib are imported where they are needed: `import nn` need not wait for them.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load", "save"]

FORMAT = "chainrule state 1"


class Stateful(Protocol):
    """What has a state: a Module, an Optimiser, a Training."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state."""


def save(thing: Stateful, path: str | os.PathLike[str]) -> None:
    """Write the state of a module, an optimiser or a training to a JSON file, floats exact.

    >>> from nn import Neuron
    >>> neuron = Neuron(2)
    >>> save(neuron, "neuron.json")
    >>> again = Neuron(2)
    >>> load(again, "neuron.json")
    >>> again.state_dict() == neuron.state_dict()
    True
    """
    import json
    from pathlib import Path

    _check_stateful("save", thing)
    text = json.dumps(thing.state_dict())
    head = json.dumps({"format": FORMAT, "sha256": _digest(text)})
    _replace(Path(path), f'{head[:-1]}, "state": {text}}}\n')


def load(thing: Stateful, path: str | os.PathLike[str]) -> None:
    """Give a module, an optimiser or a training the state that `save` wrote; a damaged file changes nothing.

    >>> from pathlib import Path
    >>> from nn import Neuron
    >>> save(Neuron(1, initialiser="zeros"), "neuron.json")
    >>> whole = Path("neuron.json").read_text()
    >>> _ = Path("neuron.json").write_text(whole[:-10])
    >>> load(Neuron(1), "neuron.json")
    Traceback (most recent call last):
    ...
    ValueError: neuron.json is damaged: it is not JSON from character 132 on
    """
    from pathlib import Path

    _check_stateful("load", thing)
    state = _read(Path(path))
    try:
        thing.load_state_dict(state)
    except (TypeError, ValueError) as error:
        error.add_note(f"This was in loading {os.fspath(path)}.")
        raise


def _check_stateful(function: str, thing: object) -> None:
    if not hasattr(thing, "state_dict"):
        raise TypeError(f"{function} takes a module, an optimiser or a training, then a path: not {thing!r} first")


def _read(path: "Path") -> Any:
    import json

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: it is not JSON from character {error.pos} on") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is damaged: it is not text") from None
    if not isinstance(content, dict) or content.keys() != {"format", "sha256", "state"}:
        raise ValueError(f"{path} was not written by nn.save: it has no format, sha256 and state")
    if content["format"] != FORMAT:
        raise ValueError(f"{path} has the format {content['format']!r:.40}, and this version reads {FORMAT!r}")
    if content["sha256"] != _digest(json.dumps(content["state"])):
        raise ValueError(f"{path} is damaged: its content does not have the checksum written in it")
    return content["state"]


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _replace(path: "Path", text: str) -> None:
    """Write a file so that at any time its name leads to the old content or the new, never to a part."""
    part = path.with_name(f"{path.name}.part")
    try:
        file = part.open("w", encoding="utf-8")
    except OSError as error:
        error.filename = str(path)  # nobody asked for the other one
        raise
    try:
        with file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # the content must be on the disk before the name leads to it
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
