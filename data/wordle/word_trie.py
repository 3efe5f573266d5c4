"""The prefixes of a word list: which tokens may follow the letters that a guess has so far."""

import numpy as np

from models.tokenization_wordle import ACTIONS_PER_TURN, END_OF_ACTION, LETTERS, NUM_LETTERS, TOKENS


class WordTrie:
    """A tree of prefixes, node 0 the empty one. `legal` (num_nodes, vocab) are the tokens that go on.

    After a whole word only `</a>` does; after what begins no word, nothing. `words` (n, 5) are letters from 0
    to 25.
    """

    def __init__(self, words: np.ndarray):
        parents = np.zeros(len(words), dtype=np.int64)
        num_nodes, edges = 1, []
        for place in range(NUM_LETTERS):
            edge, node = np.unique(parents * len(LETTERS) + words[:, place], return_inverse=True)
            edges.append(edge)
            parents = num_nodes + node
            num_nodes += len(edge)
        self.dead = num_nodes  # where letters lead that begin no word
        self.children = np.full((num_nodes + 1, len(LETTERS)), self.dead, dtype=np.int32)
        every_edge = np.concatenate(edges)  # in the order of the nodes they lead to
        self.children.reshape(-1)[every_edge] = np.arange(1, num_nodes)
        self.legal = np.zeros((num_nodes + 1, len(TOKENS)), dtype=bool)
        self.legal[:, : len(LETTERS)] = self.children != self.dead
        self.legal[parents, END_OF_ACTION] = True

    def nodes(self, words: np.ndarray) -> np.ndarray:
        """Return the nodes before each letter of words (..., 5) and after the last one: (..., 6)."""
        nodes = np.zeros((*words.shape[:-1], ACTIONS_PER_TURN), dtype=np.int64)
        for place in range(NUM_LETTERS):
            nodes[..., place + 1] = self.children[nodes[..., place], words[..., place]]
        return nodes
