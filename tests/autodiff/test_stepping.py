"""The backward pass, step by step: its numbers are those of `backward()`, in Python and in a browser."""

import base64
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import autodiff
import nn
from autodiff import Steps, Value, drawing, steps
from autodiff.drawing import short

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@st.composite
def graphs(draw_from: st.DrawFn) -> Value:
    """Build graphs with fan-out, repeats, constants, kernels, dead ends and error signals of 0."""
    number = st.floats(-3.0, 3.0).map(lambda x: round(x, 2))
    pool = [Value(draw_from(number), f"x{i}") for i in range(draw_from(st.integers(1, 3)))]
    for _ in range(draw_from(st.integers(1, 8))):
        x, y = draw_from(st.sampled_from(pool)), draw_from(st.sampled_from(pool))
        c = draw_from(number)
        ways: list[Callable[[], Value]] = [
            lambda x=x, y=y: x + y,
            lambda x=x, y=y: x * y,
            lambda x=x, c=c: c - x,
            lambda x=x: x.relu(),
            lambda x=x: x.tanh(),
            lambda x=x, y=y, c=c: autodiff.affine([x, c], [y, x], y),
            lambda x=x, y=y: autodiff.sum([x, y, x]),
            lambda x=x: x**2,
        ]
        pool.append(draw_from(st.sampled_from(ways))())
    return pool[-1]


def added_by_backward(value: Value) -> dict[Value, float]:
    for node in autodiff.toposort(value):
        node.grad = 0.0
    value.backward()
    return {node: node.grad for node in autodiff.toposort(value)}


def neuron() -> Value:
    w1, w2, b = Value(0.5, "w1"), Value(-1.0, "w2"), Value(0.5, "b")
    z = autodiff.affine([w1, w2], [2.0, 1.5], b)
    y = z.sigmoid()
    loss: Value = (y - 1.0) ** 2
    z.label, y.label, loss.label = "z", "y", "loss"
    return loss


# ---- the numbers


@given(graphs())
def test_the_last_numbers_are_those_of_backward(value: Value) -> None:
    told = steps(value).grads
    by_engine = added_by_backward(value)
    assert told.keys() == by_engine.keys()
    assert {node: repr(grad) for node, grad in told.items()} == {node: repr(grad) for node, grad in by_engine.items()}


@given(graphs())
def test_each_step_goes_on_from_the_one_before(value: Value) -> None:
    grads = dict.fromkeys(autodiff.toposort(value), 0.0)
    rules: list[Value] = []
    for event in steps(value).events:
        assert event.before == grads[event.target] or event.kind == "nothing"
        if event.kind == "edge":
            assert event.signal == grads[event.node]
            assert event.node.arguments[event.position] is event.target
            assert event.local == event.node.local_derivatives()[event.position]
            assert event.after == event.before + (event.signal * event.local if event.local else 0.0)
        grads[event.target] = event.after
        if event.kind != "seed" and event.node not in set(rules):
            rules.append(event.node)
    order = [node for node in reversed(autodiff.toposort(value)) if node.primitive is not None]
    assert [id(node) for node in rules] == [id(node) for node in order]


def test_nothing_passes_where_the_sweep_passes_nothing() -> None:
    x = Value(0.0, "x")
    y = autodiff.where(0.0, x.sqrt(), 1.0) + x.sqrt() * 0.0
    assert steps(y).grads[x] == added_by_backward(y)[x] == 0.0
    assert [event.kind for event in steps(y).events].count("nothing") == 2
    z = x.sqrt() * 2.0
    assert steps(z).grads[x] == added_by_backward(z)[x] == math.inf


def test_the_graph_stays_as_it_is() -> None:
    loss = neuron()
    loss.backward()
    before = [(node.data, node.grad, node.label) for node in autodiff.toposort(loss)]
    shown = steps(loss)
    assert shown.html
    assert [(node.data, node.grad, node.label) for node in autodiff.toposort(loss)] == before
    assert shown.grads[loss.parents[0]] == -1.0  # from 0 on, whatever grad was


# ---- the words


def test_the_equations_of_the_neuron() -> None:
    assert steps(neuron()).lines == [
        "loss.grad = 1",
        "v1.grad = 0 + 1 × (-1) = -1",
        "y.grad = 0 + (-1) × 1 = -1",
        "z.grad = 0 + (-1) × 0.25 = -0.25",
        "w1.grad = 0 + (-0.25) × 2 = -0.5",
        "w2.grad = 0 + (-0.25) × 1.5 = -0.375",
        "b.grad = 0 + (-0.25) × 1 = -0.25",
    ]


def test_fan_out_adds_up() -> None:
    x = Value(2.0, "x")
    shown = steps(x * 3.0 + x)
    assert shown.lines[-2:] == ["x.grad = 0 + 1 × 1 = 1", "x.grad = 1 + 1 × 3 = 4"]
    assert [step["says"].split(": ")[-1] for step in shown._steps()][-2:] == [
        "contribution 1 of 2.",
        "contribution 2 of 2.",
    ]


def test_zeros_are_explained() -> None:
    x = Value(-2.0, "x")
    y = (x * 5.0).relu()
    y.label = "y"
    shown = steps(y)
    assert shown.lines == ["y.grad = 1", "v1.grad = 0 + nothing (1 × 0) = 0", "v1.grad = 0: passes nothing on"]
    assert "local derivative of exactly 0" in shown._steps()[1]["says"]
    assert "nothing passes through it" in shown._steps()[2]["says"]


def test_parameters_are_told_apart() -> None:
    net = nn.MLP(1, [2, 1])
    names = [node["name"] for node in steps(net, [0.5])._nodes()]
    assert {"layers[0].neurons[1].w[0]", "layers[1].neurons[0].b", "x[0]"} <= set(names)
    assert len(set(names)) == len(names)


def test_equal_labels_are_told_apart() -> None:
    a, b = Value(1.0, "a"), Value(2.0, "a")
    assert [node["name"] for node in steps(a * b)._nodes()] == ["a (n0)", "a (n1)", "v1"]


def test_a_function_at_its_arguments() -> None:
    assert steps(lambda x, y: x * y, 2.0, 5.0).lines[1:] == ["x.grad = 0 + 1 × 5 = 5", "y.grad = 0 + 1 × 2 = 2"]


# ---- without scripts, without a network


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def static_picture(html: str) -> ElementTree.Element:
    (image,) = (attributes for tag, attributes in Tags(html).found if tag == "img")
    kind, _, content = (image["src"] or "").partition(",")
    assert kind == "data:image/svg+xml;base64"
    return ElementTree.fromstring(base64.b64decode(content).decode("utf-8"))


def test_where_scripts_are_taken_out_a_picture_and_the_steps_remain() -> None:
    shown = steps(neuron())
    html = re.sub(r"<script>.*?</script>", "", shown._repr_html_(), flags=re.DOTALL)
    for line in shown.lines:
        assert f"<li>{line}</li>" in html
    texts = ["".join(text.itertext()).strip() for text in static_picture(html).iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(text for text in texts if text.startswith("grad")) == sorted(
        f"grad {short(grad)}" for grad in (-0.5, -0.375, -0.25, -0.25, -1.0, -1.0, 1.0)
    )


def test_the_page_needs_nothing_from_anywhere() -> None:
    html = steps(neuron()).html
    for _, attributes in Tags(html).found:
        assert "href" not in attributes
        assert (attributes.get("src") or "data:").startswith("data:")
    assert not re.search(r"https?://(?!www\.w3\.org/)|@import|fetch\(|url\(", html)


def test_no_label_ends_the_script() -> None:
    html = steps(Value(1.0, "</script><b>&") * 2.0).html
    assert html.count("</script>") == 1
    assert "<b>" not in html


def test_the_key_has_the_colours_of_the_picture() -> None:
    style = Path(autodiff.__file__ or "").with_name("stepping.css").read_text("utf-8")
    for kind in ("leaf", "parameter", "result"):
        assert f".key .sample-{kind} {{ background: {drawing.KINDS[kind]['fillcolor']};" in style


def test_equal_graphs_give_equal_pages() -> None:
    assert steps(neuron()).html == steps(neuron()).html


def test_saving(tmp_path: Path) -> None:
    shown = steps(neuron())
    shown.save(tmp_path / "steps.html")
    assert (tmp_path / "steps.html").read_text("utf-8") == shown.html
    with pytest.raises(ValueError, match=r"saved as \.html: write steps\.html, not steps\.svg"):
        shown.save(tmp_path / "steps.svg")
    assert repr(shown) == "<Steps: 7 of them; a notebook shows them, .save('steps.html') keeps them>"


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match=r"steps\(\) takes a Value"):
        steps(3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="more than 300 values"):
        steps(autodiff.sum([Value(1.0) for _ in range(400)]))
    with pytest.raises(ValueError, match="left to right"):
        steps(Value(1.0) * 2.0, direction="RL")._repr_html_()  # type: ignore[arg-type]


# ---- in a browser


def run_page(folder: Path, shown: list[Steps], script: str) -> Any:
    """Open a page with several graphs, run a script that returns something, and read that back."""
    page = folder / "page.html"
    body = "".join(each._repr_html_() for each in shown)
    page.write_text(
        '<!doctype html><meta charset="utf-8"><body>' + body + '<pre id="outcome"></pre><script>'
        "const roots = [...document.querySelectorAll('.chainrule-steps')].map((e) => e.shadowRoot);"
        "const button = (root, text) => [...root.querySelectorAll('.bar button')].find((b) => b.textContent === text);"
        "const type = (root, key) => root.querySelector('.page').dispatchEvent(new KeyboardEvent('keydown', {key}));"
        "const text = (root, selector) => root.querySelector(selector).textContent;"
        "const finish = (x) => { document.getElementById('outcome').textContent = JSON.stringify(x); };"
        f"{script}</script>",
        encoding="utf-8",
    )
    assert CHROMIUM is not None
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, *FLAGS, profile, "--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=60)
    found = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:]
    assert found[1], "the script of the page failed"
    return json.loads(unescape(found[1]))


WALK = """
finish(roots.map((root) => {
  const seen = [];
  for (;;) {
    const grads = [...root.querySelectorAll('[id^=n]')].filter((e) => e.dataset.grad).map((e) => e.dataset.grad);
    const written = [...root.querySelectorAll('g.node')].map((e) => [...e.querySelectorAll('text')].at(-1).textContent);
    const lit = [...root.querySelectorAll('svg .rule')].map((e) => e.id);
    seen.push({grads, written, lit, line: text(root, '.line'), edge: (root.querySelector('.lit') || {}).id});
    if (button(root, 'Next').disabled) return seen;
    button(root, 'Next').click();
  }
}));
"""


@pytest.mark.slow
@in_browser
@settings(max_examples=2, phases=[Phase.explicit, Phase.generate])
@given(st.lists(graphs(), min_size=5, max_size=8))
def test_the_numbers_read_out_of_the_page_are_those_of_backward(
    tmp_path_factory: pytest.TempPathFactory, values: list[Value]
) -> None:
    shown = [steps(value) for value in values]
    for each, seen in zip(shown, run_page(tmp_path_factory.mktemp("page"), shown, WALK), strict=True):
        nodes = each.graph.nodes
        assert len(seen) == len(each.events) + 1
        assert seen[0]["grads"] == ["0.0"] * len(nodes)
        grads = dict.fromkeys(nodes, 0.0)
        for event, line, now in zip(each.events, each.lines, seen[1:], strict=True):
            grads[event.target] = event.after
            assert now["grads"] == [repr(grad) for grad in grads.values()]
            assert sorted(x for x in now["written"] if x.startswith("grad")) == sorted(
                f"grad {short(grad)}" for grad in grads.values()
            )
            assert now["line"] == line
            assert now["lit"] == [f"n{each._ids[event.node]}"]
        by_engine = added_by_backward(each.graph.result)
        assert seen[-1]["grads"] == [repr(by_engine[node]) for node in nodes]


@pytest.mark.slow
@in_browser
def test_the_page_is_used_by_mouse_keyboard_and_ear(tmp_path: Path) -> None:
    shown = [steps(neuron()), steps(lambda x: x * x, 3.0)]
    outcome = run_page(
        tmp_path,
        shown,
        """
        const [one, two] = roots;
        const out = {};
        out.start = text(one, '.counter');
        type(one, 'ArrowRight'); type(one, 'ArrowRight'); out.right = text(one, '.line');
        type(one, 'ArrowLeft'); out.left = text(one, '.line');
        type(one, 'End'); out.end = text(one, '.counter');
        type(one, 'Home'); out.home = text(one, '.counter');
        const slider = one.querySelector('input');
        slider.value = 4; slider.dispatchEvent(new Event('input')); out.slid = text(one, '.line');
        out.valuetext = slider.getAttribute('aria-valuetext');
        out.other = text(two, '.counter');
        const box = one.querySelector('#n3');
        box.dispatchEvent(new MouseEvent('click'));
        out.panel = text(one, '.panel h3');
        out.facts = [...one.querySelectorAll('.panel dd')].map((e) => e.textContent);
        one.querySelector('#n0').dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'}));
        out.entered = text(one, '.panel h3');
        [...one.querySelectorAll('.panel dd button')].at(-1).click();
        out.followed = text(one, '.panel h3');
        out.live = one.querySelector('.line').closest('[aria-live]').getAttribute('aria-live');
        out.names = [...one.querySelectorAll('button, input, [tabindex]')].every(
          (e) => e.getAttribute('aria-label') || e.textContent);
        out.label = box.getAttribute('aria-label');
        out.focus = [...one.querySelectorAll('button, input, [tabindex]')].filter((e) => e.tabIndex >= 0).slice(0, 8)
          .map((e) => e.id || e.className || e.type + ':' + e.textContent);
        type(two, ' '); out.playing = [text(two, '.counter'), !!button(two, 'Pause')];
        setTimeout(() => { out.played = [text(two, '.counter'), !!button(two, 'Pause')];
          finish(out); }, 6000);
        """,
    )
    assert outcome == {
        "start": "step 0 of 7",
        "right": "v1.grad = 0 + 1 × (-1) = -1",
        "left": "loss.grad = 1",
        "end": "step 7 of 7",
        "home": "step 0 of 7",
        "slid": "z.grad = 0 + (-1) × 0.25 = -0.25",
        "valuetext": "step 4 of 7: z.grad = 0 + (-1) × 0.25 = -0.25",
        "other": "step 0 of 3",
        "panel": "z = w1 * 2 + w2 * 1.5 + b intermediate value",
        "facts": [
            "0.0",
            "-0.25",
            "(-1) × 0.25 from y",
            "w1 (local derivative 2.0), w2 (local derivative 1.5), b (local derivative 1.0)",
            "y",
        ],
        "entered": "w1 leaf",
        "followed": "z = w1 * 2 + w2 * 1.5 + b intermediate value",
        "live": "polite",
        "names": True,
        "label": "z: data 0.0, grad -0.25",
        "focus": [
            "page",
            "button:First",
            "button:Previous",
            "button:Play",
            "button:Next",
            "button:Last",
            "range:",
            "n0",
        ],
        "playing": ["step 1 of 3", True],
        "played": ["step 3 of 3", False],
    }


@pytest.mark.slow
@in_browser
def test_nothing_overlaps_and_all_text_is_inside_its_box(tmp_path: Path) -> None:
    """Measured by the browser with its own fonts, at every step."""
    net = nn.MLP(2, [2, 1], activation="tanh")
    outcome = run_page(
        tmp_path,
        [steps(neuron()), steps(net, [1.0, -2.0])],
        """
        const out = [];
        for (const root of roots) {
          // The number on an edge has no outline.
          const outline = (box) => box.querySelector('polygon, path, ellipse') || box;
          const boxes = [...root.querySelectorAll('g.node')];
          for (;;) {
            for (const box of boxes) {
              const frame = outline(box).getBoundingClientRect();
              for (const text of box.querySelectorAll('text')) {
                const inner = text.getBoundingClientRect();
                if (inner.left < frame.left - 1 || inner.right > frame.right + 1) out.push(text.textContent);
              }
            }
            const pieces = [...root.querySelectorAll('svg .lit')].map((e) => e.id);
            const edges = new Set(pieces.map((id) => id.replace(/[abn]$/, '')));
            if (text(root, '.line').includes('×') && (pieces.length < 3 || edges.size > 1)) out.push(pieces);
            if (button(root, 'Next').disabled) break;
            button(root, 'Next').click();
          }
          const frames = boxes.map((b) => outline(b).getBoundingClientRect());
          frames.forEach((a, i) => frames.slice(i + 1).forEach((b) => {
            if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) out.push(['overlap', i]);
          }));
        }
        finish(out);
        """,
    )
    assert outcome == []
