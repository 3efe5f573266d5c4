"""UCI_LimitStrength: ratings become temperatures, of the model that they were measured for alone."""

import pytest

from cli.options import SHIPPED_MODEL
from eval.chess.strength import MAX_ELO, MEASURED, MIN_ELO, temperature_of
from tests.eval.chess.test_uci import one_thread, talk  # noqa: F401 (a fixture that all tests use)


def test_measured_ratings_have_their_temperatures_and_weaker_players_higher_ones():
    for temperature, elo in MEASURED:
        assert temperature_of(elo) == pytest.approx(temperature)
    temperatures = [temperature_of(elo) for elo in range(MAX_ELO, MIN_ELO - 1, -1)]
    assert temperatures == sorted(temperatures)
    with pytest.raises(ValueError, match="is not a rating"):
        temperature_of(MIN_ELO - 1)


def test_a_limited_engine_samples_its_moves():
    limit = ["setoption name UCI_LimitStrength value true", f"setoption name UCI_Elo value {MIN_ELO}"]
    said = talk(SHIPPED_MODEL, "uci", *["go nodes 1"] * 20, "isready", *limit, *["go nodes 1"] * 20)
    assert f"option name UCI_Elo type spin default {MAX_ELO} min {MIN_ELO} max {MAX_ELO}" in said
    full, limited = said[: said.index("readyok")], said[said.index("readyok") :]
    assert len({line for line in full if line.startswith("bestmove")}) == 1
    assert len({line for line in limited if line.startswith("bestmove")}) > 5


def test_other_models_have_no_ratings(model_folder):
    said = talk(model_folder, "uci")
    assert "uciok" in said and not any("UCI_Elo" in line for line in said)
