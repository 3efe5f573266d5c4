"""The pipeline "chess-values" of transformers: the best moves of a position with their win probabilities.

    pipe = pipeline("chess-values", model="user/name", trust_remote_code=True)
    pipe("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1", top_k=3)

The file is part of every published model of action values, whose config.json names it.
"""

from collections.abc import Sequence

from transformers import Pipeline


class ChessValuesPipeline(Pipeline):
    """Values the moves of a position (FEN), or of every position of a list.

    Returns {"move": UCI, "value": the mover's win probability} of the best `top_k` moves, best first, or of
    all. `moves` are the moves to value, by default the legal ones, which the package chess lists.
    """

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False

    def _sanitize_parameters(self, top_k: int | None = None, moves: Sequence[str] | None = None):
        return ({"moves": moves} if moves else {}), {}, ({"top_k": top_k} if top_k else {})

    def preprocess(self, fen: str, moves: Sequence[str] | None = None) -> dict:
        moves = list(moves or legal_moves(fen))
        return {"moves": moves, **self.tokenizer.encode_positions([fen], [moves], return_tensors="pt")}

    def _forward(self, inputs: dict) -> dict:
        moves = inputs.pop("moves")
        outputs = self.model(**inputs)
        score = outputs.value if outputs.preference is None else outputs.value + outputs.preference
        return {"moves": moves, "value": outputs.value[0], "score": score[0]}

    def postprocess(self, outputs: dict, top_k: int | None = None) -> list[dict]:
        best = outputs["score"].argsort(descending=True)[:top_k].tolist()
        return [{"move": outputs["moves"][i], "value": outputs["value"][i].item()} for i in best]


def legal_moves(fen: str) -> list[str]:
    """Return the legal moves in UCI. Raises ValueError for a position without any."""
    try:
        import chess
    except ImportError as error:
        raise ImportError("legal moves need the package chess: pip install chess, or give moves=") from error
    moves = [move.uci() for move in chess.Board(fen).legal_moves]
    if not moves:
        raise ValueError(f"{fen} has no legal move")
    return moves
