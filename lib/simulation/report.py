"""Learning curves over effort as a picture, and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.simulation.comparison import beats_random
from lib.simulation.line_plot import line_plot, write_plots

Curves = Mapping[str, Mapping[str, Any]]


def write_plot(curves: Curves, title: str, path: Path) -> None:
    """Plot the mean Dice against effort as a PNG, one line per strategy.

    Args:
        curves: Result of `compare`.
        title: Title, such as the data measured on.
        path: Path of the file.
    """
    lines = {
        strategy: list(zip(curve["effort"], curve["dice_over_effort"], strict=True))
        for strategy, curve in curves.items()
    }
    write_plots([line_plot(lines, title, "effort in strokes", y_step=0.05)], path)


def table(curves: Curves) -> str:
    """Return a Markdown table: Dice at the start and at the end, strokes, and the gain over random."""
    labels = next(iter(curves.values()))["labels"]
    head = ["strategy", *(f"Dice with {count} labels" for count in (labels[0], labels[-1])), "strokes a case"]
    head += ["gain over random by labels", "by effort"]
    rows = [head, ["---"] * len(head)]
    for strategy, curve in curves.items():
        dice = [f"{curve['dice'][index]:.3f} ± {curve['spread'][index]:.3f}" for index in (0, -1)]
        gains = [_gain(curve.get(name)) for name in ("mean_gain", "effort_gain")]
        rows.append([strategy, *dice, f"{curve['strokes_per_case']:.1f}", *gains])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def sentences(curves: Curves) -> list[str]:
    """Return the result of each strategy, by effort, as a sentence."""
    result = []
    for strategy, curve in curves.items():
        gain = curve.get("effort_gain")
        if gain is None:
            continue
        if gain["interval_95"] is None:
            verdict = "was compared with random with one seed, which is inconclusive"
        elif beats_random(curve):
            verdict = "beats random"
        elif gain["interval_95"][1] < 0:
            verdict = "is worse than random"
        else:
            verdict = "is not shown to differ from random"
        result.append(f"{strategy} {verdict}: {_gain(gain)} Dice at equal effort.")
    return result


def _gain(gain: Mapping[str, Any] | None) -> str:
    if gain is None:
        return ""
    interval = gain["interval_95"]
    return f"{gain['value']:+.3f} ({f'{interval[0]:+.3f} to {interval[1]:+.3f}' if interval else 'one seed'})"
