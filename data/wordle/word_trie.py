"""The prefixes of a word list: the tokens that may follow the letters of a guess so far."""

import numpy as np

from models.tokenization_wordle import ACTIONS_PER_TURN, END_OF_ACTION, LETTERS, NUM_LETTERS, TOKENS


class WordTrie:
    """A trie of words, letters (n, 5) from 0 to 25. Node 0 is the empty prefix.

    `legal` (num_nodes, vocab) masks the tokens that continue a prefix to a word: only `</a>` after a whole
    word, none after letters that start no word. `children` (num_nodes, 26) are the nodes after a letter.
    """

    def __init__(self, words: np.ndarray):
        parents = np.zeros(len(words), dtype=np.int64)
        num_nodes, edges = 1, []
        for index in range(NUM_LETTERS):
            edge, node = np.unique(parents * len(LETTERS) + words[:, index], return_inverse=True)
            edges.append(edge)
            parents = num_nodes + node
            num_nodes += len(edge)
        dead = num_nodes  # the node of letters that start no word
        self.children = np.full((num_nodes + 1, len(LETTERS)), dead, dtype=np.int32)
        all_edges = np.concatenate(edges)  # in the order of the nodes they lead to
        self.children.reshape(-1)[all_edges] = np.arange(1, num_nodes)
        self.legal = np.zeros((num_nodes + 1, len(TOKENS)), dtype=bool)
        self.legal[:, : len(LETTERS)] = self.children != dead
        self.legal[parents, END_OF_ACTION] = True

    def nodes(self, words: np.ndarray) -> np.ndarray:
        """Return the nodes before each letter of words (..., 5), and after the last one: (..., 6)."""
        nodes = np.zeros((*words.shape[:-1], ACTIONS_PER_TURN), dtype=np.int64)
        for index in range(NUM_LETTERS):
            nodes[..., index + 1] = self.children[nodes[..., index], words[..., index]]
        return nodes
