"""Settings for every test: what a failing run shows must be reproducible, and nothing may open a window."""

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Set before anything imports matplotlib.
os.environ.setdefault("MPLBACKEND", "Agg")

# A first call may import or compile; on a busy machine a deadline would fail at random.
settings.register_profile(
    "chainrule",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("chainrule")


@pytest.fixture(autouse=True)
def _in_empty_folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run doctests that write files (`draw(v).save("x.svg")`) where they leave nothing behind."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))


@pytest.fixture
def untraced() -> Iterator[None]:
    """Measure no coverage meanwhile."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)
