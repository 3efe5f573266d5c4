"""Games that Stockfish plays against itself, full of accidents, so that positions of every kind turn up.

Every game starts with random moves, and its two sides have weaknesses of their own: little search, a liking
for the second best, random moves. That gives balanced games and one-sided ones, mistakes that can be
punished, and endgames.
"""

import math
import random
from typing import NamedTuple

import chess

from data.chess.stockfish import Stockfish


MAX_PLIES = 200
OPENING_PLIES = (2, 12)
NODES_PER_MOVE = (50, 200, 800)
CANDIDATES = 6
# Differences in win probability that a player hardly notices when choosing among the candidates.
TEMPERATURES = (0.0, 0.03, 0.1)
RANDOM_MOVE_RATES = (0.0, 0.0, 0.05, 0.15, 0.35)
# Below this win probability a player resigns, as people do: where every move loses there is little to learn.
RESIGN_BELOW = 0.02


class Player(NamedTuple):
    """How one side plays: search effort, temperature in win probability, and how often a move is random."""

    nodes: int
    temperature: float
    random_move_rate: float


def play_game(engine: Stockfish, seed: int, game: int, resign: bool = False) -> chess.Board:
    """Return the final board of game number `game` of a seed; its move stack is the game.

    With `resign`, games that are lost end there; else they are played out. The result depends only on the
    arguments and the version of Stockfish.
    """
    rng = random.Random(f"selfplay {seed} {game}")
    opening_plies = rng.randint(*OPENING_PLIES)
    players = [
        Player(rng.choice(NODES_PER_MOVE), rng.choice(TEMPERATURES), rng.choice(RANDOM_MOVE_RATES))
        for _ in chess.COLORS
    ]
    board = chess.Board()
    engine.new_game()
    while board.ply() < MAX_PLIES and not _is_over(board):
        player = players[board.turn]
        if board.ply() < opening_plies or rng.random() < player.random_move_rate:
            move = rng.choice(sorted(move.uci() for move in board.legal_moves))
        else:
            move, win_prob = _choose(engine, board, player, rng)
            if resign and win_prob < RESIGN_BELOW:
                break
        board.push_uci(move)
    return board


def _choose(engine: Stockfish, board: chess.Board, player: Player, rng: random.Random) -> tuple[str, float]:
    """Return a move and the best one's win probability: the best, or at a temperature likelier the better."""
    multipv = 1 if player.temperature == 0.0 else CANDIDATES
    moves = [move.uci() for move in board.move_stack]
    best, lines = engine.search(chess.STARTING_FEN, nodes=player.nodes, multipv=multipv, moves=moves)
    win_probs = {line.moves[0]: line.win_prob for line in lines}
    highest = max(win_probs.values(), default=0.5)  # a search of a few nodes may report no exact score
    if multipv == 1:
        return best, highest
    weights = [math.exp((win_prob - 1.0) / player.temperature) for win_prob in win_probs.values()]
    return rng.choices(list(win_probs), weights)[0], highest


def _is_over(board: chess.Board) -> bool:
    return board.is_game_over() or board.halfmove_clock >= 100 or board.is_repetition(3)
