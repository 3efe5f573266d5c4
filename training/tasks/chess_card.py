"""The texts of the card of a chess model, by its target."""

from typing import NamedTuple

from configs.chess import ChessConfig


class CardText(NamedTuple):
    """The fields of CardFacts that depend on the target; texts are Markdown."""

    description: str
    training: str
    example: str
    example_notes: str
    batch_unit: str
    loss: str | None = None
    tag: str | None = None


# Python of the model card; {load} is filled in.
LOAD = """\
from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained({load})
tokenizer = AutoTokenizer.from_pretrained({load})
start, moves = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1", ["e2e4", "d2d4", "f2f3"]
inputs = tokenizer.encode_positions([start], [moves], return_tensors="pt")
"""
VALUE_MOVES = "print(dict(zip(moves, model(**inputs).value[0].tolist())))"
VALUE_STATE = 'print(model(inputs["input_ids"]).value.item())'
PREDICT_MOVES = """\
logits = model(inputs["input_ids"]).logits[0, inputs["action_ids"][0]]
print(dict(zip(moves, logits.softmax(dim=0).tolist())))"""
PIPELINE = """\
The pipeline `chess-values` lists the best legal moves. It needs the package
[chess](https://github.com/niklasf/python-chess), or the moves as `moves=`:

```python
from transformers import pipeline

values = pipeline("chess-values", {load})
print(values(start, top_k=3))
```

"""
WITH_CHESS = """\
With the package [chess](https://github.com/niklasf/python-chess)
the model plays, here its first move:

"""
PLAY = """\
```python
import chess

board = chess.Board()
moves = [move.uci() for move in board.legal_moves]
inputs = tokenizer.encode_positions([board.fen()], [moves], return_tensors="pt")
{play}
```"""
BY_VALUE = "board.push_uci(moves[model(**inputs).value[0].argmax()])"
BY_SCORE = """\
outputs = model(**inputs)
board.push_uci(moves[(outputs.value + outputs.preference)[0].argmax()])"""
BY_PREDICTION = (
    'board.push_uci(moves[model(inputs["input_ids"]).logits[0, inputs["action_ids"][0]].argmax()])'
)
PLAY_BY_STATES = """\
```python
import chess

board, after = chess.Board(), []
for move in board.legal_moves:
    board.push(move)
    after.append(board.fen())
    board.pop()
inputs = tokenizer.encode_positions(after, [[]] * len(after), return_tensors="pt")
board.push(list(board.legal_moves)[model(inputs["input_ids"]).value.argmin()])
```"""


def card_text(config: ChessConfig, load: str) -> CardText:
    """Return the texts for a model; `load` are the arguments of from_pretrained."""
    has_bins = config.value_loss.has_bins
    predicted = "a *distribution* over the win probability" if has_bins else "the win probability"
    start = LOAD.format(load=load)
    if config.data.target == "state_value":
        distribution = "; `.logits` holds its distribution" if has_bins else ""
        return CardText(
            f"A value function for chess. For a position it predicts {predicted} of the player to move. It "
            "plays the move after which the opponent's expected value is lowest, without further search.",
            "on the values that a chess engine gives to positions",
            start + VALUE_STATE,
            f"The value is a win probability{distribution}. {WITH_CHESS}{PLAY_BY_STATES}",
            "boards",
        )
    if config.data.target == "move":
        return CardText(
            "A policy for chess. For a position it predicts the move that is played, and plays the most "
            "probable legal move, without search.",
            "on moves that were played, or on the best moves of a chess engine",
            start + PREDICT_MOVES,
            "`.logits` are those of all 1,968 moves, also illegal ones; the softmax over the legal moves "
            "gives their probabilities, here of three of them. "
            f"{WITH_CHESS}{PLAY.format(play=BY_PREDICTION)}",
            "boards",
            loss="the cross-entropy of the move",
            tag="behavioral-cloning",
        )
    distributions = "; `.logits` holds their distributions" if has_bins else ""
    ranks = config.ranking_loss.weight > 0
    highest = "expected value plus preference, which a second head gives it" if ranks else "expected value"
    return CardText(
        f"A value function for chess. For a position and a move it predicts {predicted} of the player to "
        f"move. It plays the move with the highest {highest}, without search.",
        "on the action values of a chess engine",
        start + VALUE_MOVES,
        f"The values are win probabilities{distributions}. "
        f"{PIPELINE.format(load=load)}{WITH_CHESS}{PLAY.format(play=BY_SCORE if ranks else BY_VALUE)}",
        "boards with all their moves" if config.data.example == "board" else "moves",
    )
