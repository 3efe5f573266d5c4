"""Instructions of a robot as words: a tokenizer made from the instructions of the training data.

tokenizer = make_instruction_tokenizer(["open a drawer", "push a button"])
instruction_ids(tokenizer, ["open a button"])       # (1, 3)
"""

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast


PAD, UNKNOWN = "<pad>", "<unk>"


def make_instruction_tokenizer(instructions: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for every word of `instructions`, in lower case."""
    normalizer, splitter = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    words = {
        word for text in instructions for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    }
    vocabulary = {word: index for index, word in enumerate([PAD, UNKNOWN, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_input_names=["input_ids", "attention_mask"],
    )


def instruction_ids(tokenizer: PreTrainedTokenizerBase, instructions: Sequence[str]) -> Tensor:
    """Return the tokens of instructions, padded to the longest, (instructions, tokens) int64.

    Raises ValueError for an instruction with words that are not in the vocabulary.
    """
    ids = tokenizer(list(instructions), padding=True)["input_ids"]
    for text, row in zip(instructions, ids, strict=True):
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in row:
            known = sorted(word for word in tokenizer.get_vocab() if not word.startswith("<"))
            shown = ", ".join(known[:30]) + (" …" if len(known) > 30 else "")
            raise ValueError(
                f"the model does not know all words of the instruction {text!r}: it knows {shown}"
            )
    return torch.tensor(ids)
