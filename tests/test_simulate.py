"""``python main.py simulate`` on generated crops: curves, paired runs, resuming, and the comparison worked by hand."""

import argparse
import copy
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from lib.cli import simulate
from lib.errors import UserError
from lib.settings import load_info
from lib.simulation.comparison import beats_random, compare, dice_at
from lib.simulation.report import sentences, table
from lib.training.data_split import held_out
from lib.training.scans import patient_from_file_name


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    """Use the app's settings with a network that trains quickly."""
    info = load_info()
    info["network"]["channels"] = [4, 8]
    monkeypatch.setattr(simulate, "load_info", lambda: info)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Create crops of 30 patients, each with a bright ball, and one stack of slices as large as a chest."""
    root = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(0)
    sizes = {f"P{index}_R_1": (14 + index % 3, 14, 3) for index in range(30)} | {"W_1": (64, 64, 3)}
    for name, (width, height, depth) in sizes.items():
        z, y, x = np.mgrid[:depth, :height, :width]
        ball = (x - width // 2) ** 2 + (y - height // 2) ** 2 + 4 * (z - 1) ** 2 < 16
        hu = np.where(ball, 40, -850) + rng.normal(0, 30, ball.shape)
        for kind, values in (("images", hu.astype(np.int16)), ("masks", ball.astype(np.uint8))):
            image = sitk.GetImageFromArray(values)
            image.SetSpacing((5.0, 5.0, 2.5) if name == "W_1" else (1.0, 1.0, 2.5))
            (root / kind).mkdir(exist_ok=True)
            sitk.WriteImage(image, str(root / kind / f"{name}.nii.gz"))
    return root


def arguments(data, output, *extra):
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    line = ["--images", data / "images", "--masks", data / "masks", "--output", output, "--strategies", "random"]
    line += ["uncertainty", "--seeds", 2, "--rounds", 2, "--start", 2, "--per-round", 3, "--pool", 16]
    line += ["--start-steps", 2, "--steps", 2, "--batch-size", 2, "--patch-size", 32, *extra]
    return parser.parse_args([str(word) for word in line])


@pytest.mark.slow
def test_strategies_share_their_start_and_never_pick_held_out_cases(data, tmp_path, monkeypatch):
    assert simulate.run(arguments(data, tmp_path)) == 0
    result = json.loads((tmp_path / "simulation.json").read_text())
    assert set(result["strategies"]) == {"random", "uncertainty"}
    for seed in ("0", "1"):
        starts = [result["runs"][strategy][seed][0] for strategy in result["runs"]]
        assert starts[0] == starts[1]
    assert result["runs"]["random"]["0"][0]["picked"] != result["runs"]["random"]["1"][0]["picked"]
    for seeds in result["runs"].values():
        for rounds in seeds.values():
            picked = [name for entry in rounds for name in entry["picked"]]
            assert len(picked) == len(set(picked)) == 8
            assert not any(held_out(patient_from_file_name(name)) for name in picked)
            assert [entry["labels"] for entry in rounds] == [2, 5, 8]
            assert [len(entry["strokes"]) for entry in rounds] == [0, 3, 3]
            assert sum(sum(entry["strokes"]) for entry in rounds) > 0
    assert result["settings"]["held_out_cases"] == sum(held_out(f"P{index}") for index in range(30)) + held_out("W")
    gain = result["strategies"]["uncertainty"]["mean_gain"]
    by_hand = [
        np.mean([result["runs"][s][seed][r]["dice"] for r in (1, 2)])
        for s in ("uncertainty", "random")
        for seed in ("0", "1")
    ]
    assert gain["value"] == pytest.approx(np.mean(by_hand[:2]) - np.mean(by_hand[2:]), abs=1e-3)
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.width > curve.height > 100
    assert "| uncertainty |" in (tmp_path / "table.md").read_text()

    played = []
    monkeypatch.setattr(
        simulate, "replay", lambda start, strategy, report: played.append((start.seed, strategy)) or rounds
    )
    (tmp_path / "runs" / "random-1.json").unlink()
    simulate.run(arguments(data, tmp_path))
    assert played == [(1, "random")]
    info = simulate.load_info()
    info["config"]["train"]["prior_patients"] = 7  # which only the rule of the server uses
    simulate.run(arguments(data, tmp_path))
    info["config"]["train"]["loss_lambda"] = 0.6
    with pytest.raises(UserError, match="other settings or data"):
        simulate.run(arguments(data, tmp_path))
    info["config"]["train"]["loss_lambda"] = 0.5
    with pytest.raises(UserError, match="other settings or data"):
        simulate.run(arguments(data, tmp_path, "--steps", 3))


def test_options_of_whole_scans_are_refused_without_it(data, tmp_path):
    with pytest.raises(UserError, match="--second-stages is an option of --whole-scans"):
        simulate.run(arguments(data, tmp_path, "--second-stages", tmp_path))


@pytest.mark.slow
def test_whole_scans_can_be_simulated(data, tmp_path):
    line = ["--strategies", "disagreement", "foreground_random", "stratified_entropy", "lesion", "--seeds", 1]
    line += ["--rounds", 1, "--pool", 30, "--start", 15, "--per-round", 15]
    simulate.run(arguments(data, tmp_path, *line))
    runs = json.loads((tmp_path / "simulation.json").read_text())["runs"]
    assert len(runs) == 4
    for seeds in runs.values():
        assert "W_1" in seeds["0"][0]["picked"] + seeds["0"][1]["picked"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--rounds", 20, "make 62 labels"),
        ("--rounds", 0, "--rounds must be at least 1"),
        ("--per-round", 0, "--per-round must be at least 1"),
        ("--opening", -1, "--opening must be a number of strokes"),
        ("--opening", "nan", "--opening must be a number of strokes"),
    ],
)
def test_options_out_of_range_are_refused(data, tmp_path, option, value, message):
    with pytest.raises(UserError, match=message):
        simulate.run(arguments(data, tmp_path, option, value))


@pytest.mark.parametrize("content", [None, "{}", '{"cases": {"a": [], "b": []}}'])
def test_metrics_without_clicks_of_one_model_are_refused(data, tmp_path, content):
    file = tmp_path / "metrics.json"
    if content:
        file.write_text(content)
    with pytest.raises(UserError, match=r"has no clicks of one model .* Run evaluate --clicks"):
        simulate.run(arguments(data, tmp_path, "--clicks", file))


@pytest.mark.slow
def test_round_by_the_rule_of_the_server_goes_part_of_the_way(data, tmp_path, monkeypatch):
    starts = []
    monkeypatch.setattr(
        simulate, "replay", lambda start, strategy, report: starts.append(start) or history(0.1, 0.2, 0.3)
    )
    simulate.run(arguments(data, tmp_path, "--server-rule", "--strategies", "random", "--seeds", 1))
    start, rule = starts[0], starts[0].info["config"]["train"]
    before = start.network.state_dict()

    def after(**changed):
        rule.update(max_epochs=2, learning_rate=0.0003, **changed)
        network = copy.deepcopy(start.network)
        start.retrain(network, start.labelled, 1)
        return network.state_dict()

    patients = len({start.pool[name].patient for name in start.labelled})
    whole, tenth = after(prior_patients=0), after(prior_patients=9 * patients)
    moved = [
        name for name, value in before.items() if value.is_floating_point() and not torch.equal(value, whole[name])
    ]
    assert len(moved) > 10
    for name in moved:
        assert torch.allclose(tenth[name], 0.9 * before[name] + 0.1 * whole[name], atol=1e-6), name


def history(*dice, strokes=(2, 2)):
    """Return a run with two cases a round, each of which needs some strokes."""
    return [
        {"labels": 8 + 4 * index, "dice": value, "picked": [], "strokes": list(strokes) if index else []}
        for index, value in enumerate(dice)
    ]


def test_dice_is_interpolated_between_the_efforts_of_rounds():
    """With 1 for opening a case, a round costs 2 + 2 + 2 · 1."""
    found = dice_at(np.array([0, 3, 6, 9, 12, 20]), history(0.2, 0.4, 0.8), opening=1)
    assert found == pytest.approx([0.2, 0.3, 0.4, 0.6, 0.8, 0.8])


def test_strategy_that_asks_for_dear_cases_loses_at_equal_effort():
    runs = {
        "random": {0: history(0.2, 0.4, 0.6), 1: history(0.2, 0.4, 0.6)},
        "dear": {0: history(0.2, 0.45, 0.65, strokes=(10, 10)), 1: history(0.2, 0.45, 0.65, strokes=(10, 10))},
    }
    curves = compare(runs, opening=0)
    assert curves["dear"]["mean_gain"]["value"] == pytest.approx(0.05)
    # Up to the effort of 8 that both have spent, random rises by 0.05 a stroke, the other one by 0.0125.
    assert curves["dear"]["effort_gain"]["value"] == pytest.approx(-0.0375 * 4, abs=0.002)
    assert (curves["random"]["strokes_per_case"], curves["dear"]["strokes_per_case"]) == (2, 10)
    assert (curves["random"]["effort"][-1], curves["dear"]["effort"][-1]) == (8, 40)
    assert "is not shown to differ" not in sentences(curves)[0]
    assert "dear is worse than random: -0.15" in sentences(curves)[0]
    assert compare(runs, opening=1000)["dear"]["effort_gain"]["value"] > 0


def test_comparison_matches_a_calculation_by_hand():
    runs = {
        "random": {0: history(0.3, 0.4, 0.5), 1: history(0.2, 0.4, 0.6)},
        "better": {0: history(0.3, 0.5, 0.62), 1: history(0.2, 0.51, 0.7)},
        "alike": {0: history(0.3, 0.5, 0.5), 1: history(0.2, 0.3, 0.6)},
    }
    curves = compare(runs, opening=1)
    assert curves["random"]["labels"] == [8, 12, 16]
    assert curves["random"]["dice"] == pytest.approx([0.25, 0.4, 0.55])
    assert curves["random"]["spread"] == pytest.approx([0.0707, 0, 0.0707], abs=1e-4)
    gain = curves["better"]["mean_gain"]
    assert gain["seeds"] == pytest.approx([0.11, 0.105])
    # Student's t for two seeds is 12.706; the standard error of 0.11 and 0.105 is 0.0025.
    assert gain["interval_95"] == pytest.approx([0.1075 - 12.706 * 0.0025, 0.1075 + 12.706 * 0.0025], abs=2e-4)
    assert curves["better"]["last_gain"]["value"] == pytest.approx(0.11)
    assert beats_random(curves["better"])
    assert not beats_random(curves["alike"])
    assert not beats_random(curves["random"])
    said = sentences(curves)
    assert said[0].startswith("better beats random: +0.08")
    assert said[1].startswith("alike is not shown to differ")
    assert "| better | 0.250 ± 0.071 | 0.660 ± 0.057 | 2.0 | +0.10" in table(curves)


def test_one_seed_is_inconclusive():
    curves = compare({"random": {0: history(0.3, 0.4)}, "other": {0: history(0.3, 0.9)}}, opening=1)
    assert not beats_random(curves["other"])
    assert "is inconclusive" in sentences(curves)[0]
