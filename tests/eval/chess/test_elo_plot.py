"""The figure of a tournament."""

import pytest
from matplotlib import image

from eval.chess.elo import summarise
from eval.chess.elo_plot import plot_scores
from tests.eval.chess.test_tournament import lose, played, results_of, tournament


@pytest.mark.parametrize(
    "play", [results_of(1700), lose, lambda pairing: [1.0, 1.0]], ids=["mixed", "lost", "won"]
)
def test_a_figure_is_drawn_of_any_result(play, tmp_path):
    simulated = tournament(num_rounds=20)
    played(simulated, play)
    plot_scores(summarise(simulated), simulated.rating, tmp_path / "elo.png", "$" + "long/" * 80)
    assert image.imread(tmp_path / "elo.png").shape[2] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["elo.png"]
