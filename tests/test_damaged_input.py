"""Whatever bytes of a file or line are changed or lost, its reader returns or raises its documented error."""

import random

import pytest

from cli.errors import InputError
from eval.chess.uci_protocol import ProtocolError
from tests.support.readers import READERS


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change, remove or repeat a few bytes at random."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(changed) + 1)
        end = start + rng.choice((0, 1, 1, 1, 8))
        replacement = rng.choice((rng.randbytes(1), rng.choice(b'09-\n "[{(;,').to_bytes(), b"", changed[:9]))
        changed[start:end] = replacement
    return bytes(changed)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damaged_input_raises_the_documented_error_alone(reader, tmp_path):
    data = reader.contents(tmp_path)
    path = tmp_path / reader.name
    path.write_bytes(data)
    reader.read(path)
    changed = (mutate(data, random.Random(seed)) for seed in range(reader.num_inputs))
    for damaged in (b"", data[: len(data) // 2], *changed):
        path.write_bytes(damaged)
        try:
            reader.read(path)
        except (InputError, ProtocolError) as error:
            assert "\n" not in str(error)
