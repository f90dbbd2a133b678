"""Curves as SVG: the same numbers always give the same file."""

from collections.abc import Sequence
from pathlib import Path

Curve = Sequence[tuple[float, float]]


def draw(path: Path, title: str, x_label: str, y_label: str, curves: dict[str, Curve], *, decades: bool = False) -> str:
    """Draw curves over a logarithmic x axis into a file, and return the Markdown that shows it.

    The y axis starts at 0, unless it shall show decades.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        return f"No picture of {title}: matplotlib is not installed."
    mpl.use("svg")
    from matplotlib import pyplot

    # A fixed salt and no date: a file changes only when its numbers do.
    with mpl.rc_context({"svg.hashsalt": "chainrule", "svg.fonttype": "path", "axes.grid": True}):
        figure, axes = pyplot.subplots(figsize=(9.0, 4.0), layout="constrained")
        for (name, curve), marker in zip(curves.items(), "os^vD*", strict=False):
            axes.semilogx([x for x, _ in curve], [y for _, y in curve], marker=marker, label=name)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        if decades:
            axes.set(yscale="log")
        else:
            axes.set(ylim=(0.0, None))
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper")
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return f"![{title}]({path.name})"
