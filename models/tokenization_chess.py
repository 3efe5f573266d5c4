"""The tokenizer of chess positions and moves that transformers loads; chess_tokens.py has the encoding.

tokenizer = ChessTokenizer()
inputs = tokenizer.encode_positions([fen], [["e2e4", "d2d4"]], return_tensors="pt")
model(**inputs).value                                   # (1, 2)
"""

from collections.abc import Sequence

from transformers import BatchFeature, PreTrainedTokenizer

from .chess_tokens import (
    ACTION_IDS,
    ACTIONS,
    BOARD_LENGTH,
    CHARACTERS,
    TOKEN_IDS,
    encode_positions,
    orient_tokens,
    tokenize_fens,
)


class ChessTokenizer(PreTrainedTokenizer):
    """Tokenizer for chess positions (FEN) and moves (UCI).

    Called with a FEN it returns the 77 `input_ids`. `encode_positions` also encodes moves, and is vectorised.
    `orient=False` gives ChessBench's input; the default is oriented to the side to move.
    """

    model_input_names = ["input_ids"]

    def __init__(self, orient: bool = True, **kwargs):
        self.orient = orient
        kwargs.setdefault("model_max_length", BOARD_LENGTH)
        kwargs.setdefault("pad_token", ".")  # all boards have 77 tokens, but collators ask for one
        super().__init__(orient=orient, **kwargs)

    @property
    def vocab_size(self) -> int:
        return len(ACTIONS)

    def get_vocab(self) -> dict[str, int]:
        """Return one token per id. Ids 0 to 30 are board tokens here, and moves among `action_ids`."""
        return {self._convert_id_to_token(index): index for index in range(len(ACTIONS))}

    def encode_positions(
        self, fens: Sequence[str], moves: Sequence[Sequence[str]], return_tensors: str | None = "np"
    ) -> BatchFeature:
        """Encode positions with the moves to value in each, in UCI notation, not oriented.

        Returns `input_ids` (n, 77) and `action_ids` (n, largest number of moves), padded with -100.
        Raises FenError for a broken FEN and ValueError for a string that is not a move.
        """
        inputs = encode_positions(fens, moves, self.orient)
        return BatchFeature(inputs, tensor_type=return_tensors)

    def _tokenize(self, text: str, **kwargs) -> list[str]:
        tokens = tokenize_fens([text])
        return [CHARACTERS[token] for token in (orient_tokens(tokens) if self.orient else tokens)[0]]

    def _convert_token_to_id(self, token: str) -> int:
        index = TOKEN_IDS.get(token, ACTION_IDS.get(token))
        if index is None:
            raise ValueError(f"{token!r} is neither a character of a board nor a move such as e2e4")
        return index

    def _convert_id_to_token(self, index: int) -> str:
        return CHARACTERS[index] if index < len(CHARACTERS) else ACTIONS[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        return ()  # the vocabulary is this file


ChessTokenizer.register_for_auto_class("AutoTokenizer")
