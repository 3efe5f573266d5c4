"""Wordle as text for a language agent: the 35 tokens of ILQL, and a tokenizer that transformers loads.

Source: Snell et al., "Offline RL for Natural Language Generation with Implicit Language Q Learning"
(arXiv 2206.11871).

    tokenizer = make_wordle_tokenizer()
    tokenizer("<a>crane</a><b><y><b><b><g></s>").input_ids

A game is `<a>`, then for every turn the five letters of the guess, `</a>`, five colours and `</s>`, and at
the end `</eod>`. The agent chooses letters and `</a>`; the environment answers with colours and `</s>`.
"""

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL_TOKENS = ("<g>", "<b>", "<y>", "<|pad|>", "</a>", "</s>", "<s>", "<a>", "</eod>")
TOKENS = (*LETTERS, *SPECIAL_TOKENS)
TOKEN_IDS = {token: index for index, token in enumerate(TOKENS)}

PAD = TOKEN_IDS["<|pad|>"]
END_OF_ACTION = TOKEN_IDS["</a>"]
END_OF_STATE = TOKEN_IDS["</s>"]
START = TOKEN_IDS["<a>"]
COLOUR_TOKENS = np.array([TOKEN_IDS["<b>"], TOKEN_IDS["<y>"], TOKEN_IDS["<g>"]], dtype=np.uint8)

NUM_LETTERS = 5
NUM_TURNS = 6
ACTIONS_PER_TURN = NUM_LETTERS + 1  # letters and </a>
TOKENS_PER_TURN = 2 * (NUM_LETTERS + 1)  # and colours and </s>
GAME_LENGTH = 1 + NUM_TURNS * TOKENS_PER_TURN + 1


def make_wordle_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer: one token for each letter and each `<...>`; other characters raise an error."""
    # <unk> is not in the vocabulary, so that the tokenizer raises an error for unknown characters.
    tokenizer = Tokenizer(models.WordLevel(TOKEN_IDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"<[^<>]*>|."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=GAME_LENGTH,
        pad_token="<|pad|>",
        bos_token="<a>",
        eos_token="</eod>",
        clean_up_tokenization_spaces=False,
        padding_side="left",  # the last position values the next token
        model_input_names=["input_ids", "attention_mask"],
    )
