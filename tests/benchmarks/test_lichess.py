"""The conversion in plain Python gives the rows of the one that is measured."""

import numpy as np

from benchmarks.lichess import convert_blocks, convert_in_plain_python, make_lines


def test_plain_python_converts_to_the_same_rows():
    lines = make_lines(200, seed=0)
    (converted,) = convert_blocks(lines)
    rows, expected = converted.actions.to_pylist(), convert_in_plain_python(lines)
    assert [(row["fen"], row["moves"]) for row in rows] == [(row.fen, row.moves) for row in expected]
    found = [value for row in rows for value in row["win_probs"]]
    np.testing.assert_allclose(found, [value for row in expected for value in row.win_probs], rtol=1e-6)
