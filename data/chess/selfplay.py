"""Games that Stockfish plays against itself, weakened so that positions of every kind occur.

Every game starts with random moves, and each side has its own weaknesses: little search, moves sampled among
the best few, random moves. This gives balanced and one-sided games, mistakes to punish, and endgames.
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
# In win probability: the candidates' weights are exp(win probability / temperature).
TEMPERATURES = (0.0, 0.03, 0.1)
RANDOM_MOVE_RATES = (0.0, 0.0, 0.05, 0.15, 0.35)
# Below this win probability a player resigns: where every move loses there is little to learn.
RESIGN_BELOW = 0.02


class Player(NamedTuple):
    """How one side plays: search effort, temperature in win probability, and how often a move is random."""

    nodes: int
    temperature: float
    random_move_rate: float


def play_game(engine: Stockfish, seed: int, game: int) -> chess.Board:
    """Return the final board of game number `game` of a seed; its move stack is the game.

    The game depends only on seed, number and the version of Stockfish.
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
            if win_prob < RESIGN_BELOW:
                break
        board.push_uci(move)
    return board


def _choose(engine: Stockfish, board: chess.Board, player: Player, rng: random.Random) -> tuple[str, float]:
    """Return a move, the best or sampled at the player's temperature, and the best win probability."""
    multipv = 1 if player.temperature == 0.0 else CANDIDATES
    moves = [move.uci() for move in board.move_stack]
    best, lines = engine.search(chess.STARTING_FEN, nodes=player.nodes, multipv=multipv, moves=moves)
    win_probs = {line.move: line.win_prob for line in lines}
    highest = max(win_probs.values(), default=0.5)  # a search of a few nodes may report no exact score
    if multipv == 1:
        return best, highest
    weights = [math.exp((win_prob - 1.0) / player.temperature) for win_prob in win_probs.values()]
    return rng.choices(list(win_probs), weights)[0], highest


def _is_over(board: chess.Board) -> bool:
    return board.is_game_over() or board.halfmove_clock >= 100 or board.is_repetition(3)
