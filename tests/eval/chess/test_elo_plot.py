"""The picture of a tournament."""

import numpy as np
import pytest
from matplotlib import image, pyplot

from eval.chess.elo import summarise
from eval.chess.elo_plot import plot_scores
from tests.eval.chess.test_tournament import lose, played, results_of, tournament


@pytest.mark.parametrize(
    "play", [results_of(1700), lose, lambda pairing: [1.0, 1.0]], ids=["mixed", "lost", "won"]
)
def test_a_picture_is_drawn_of_any_result(play, tmp_path):
    simulated = tournament(num_rounds=20)
    played(simulated, play)
    plot_scores(summarise(simulated), tmp_path / "elo.png", "player")
    assert image.imread(tmp_path / "elo.png").shape[2] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["elo.png"]


@pytest.mark.parametrize("scored", [0.0, 1.0])
@pytest.mark.parametrize(
    "name", ["player", f"{'/a_long_folder$' * 30}/model#1a2b3c4d temperature 0.05", "x" * 300]
)
def test_a_picture_has_a_curve_its_whole_title_and_a_legend_beside_the_points(
    scored, name, tmp_path, monkeypatch
):
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    simulated = tournament(num_rounds=20)
    played(simulated, lambda pairing: [scored, scored])
    plot_scores(summarise(simulated), tmp_path / "elo.png", name)
    (figure,) = figures
    figure.draw_without_rendering()
    (axis,), (legend,) = figure.axes, figure.legends
    whole, drawn = figure.bbox, axis.title.get_window_extent()
    assert whole.x0 <= drawn.x0 and drawn.x1 <= whole.x1 and drawn.y1 <= whole.y1
    title = axis.title.get_text()
    assert title.endswith("40 games") and name.rpartition("/")[2].split()[0] in title.replace("\n", "")
    assert not legend.get_window_extent().overlaps(axis.bbox)
    curve = axis.lines[0]
    assert len(curve.get_xdata()) > 100 and np.ptp(curve.get_ydata()) > 0.1
    monkeypatch.undo()
    pyplot.close(figure)
