"""Othello once more, as plainly as can be: lists of lists, one step at a time. What the fast engine is checked against.

Moves are (row, column), a pass is None. Nothing here is shared with the package.
"""

import copy
from dataclasses import dataclass, field

AROUND = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
OTHER = {"b": "w", "w": "b"}


@dataclass
class State:
    grid: list
    mover: str = "b"
    steps: int = 0
    passes: int = 0
    changed: set = field(default_factory=set)


class SlowOthello:
    def __init__(self, name, passes):
        self.name, self.passes = name, passes
        self.size = {"othello4": 4, "othello6": 6, "othello6_parallel": 6, "othello6_straight": 6}.get(name, 8)
        self.flanked = [step for step in AROUND if name != "othello6_straight" or 0 in step]
        self.published_variant = name in ("classic", "nomidflip", "delflank", "iago")

    def start(self):
        grid = [["."] * self.size for _ in range(self.size)]
        if self.name == "delflank":
            grid[2][2] = grid[5][5] = "b"
            grid[2][5] = grid[5][2] = "w"
        elif self.name == "othello6_parallel":
            grid[2][2] = grid[2][3] = "b"
            grid[3][2] = grid[3][3] = "w"
        else:
            half = self.size // 2
            grid[half - 1][half - 1] = grid[half][half] = "w"
            grid[half - 1][half] = grid[half][half - 1] = "b"
        return State(grid)

    def at(self, grid, row, column):
        return grid[row][column] if 0 <= row < self.size and 0 <= column < self.size else "#"

    def run(self, grid, row, column, direction, player):
        """The other player's discs from a square up to one of the player's; none if no such disc ends them."""
        found = []
        row, column = row + direction[0], column + direction[1]
        while self.at(grid, row, column) == OTHER[player]:
            found.append((row, column))
            row, column = row + direction[0], column + direction[1]
        return found if self.at(grid, row, column) == player else []

    def squares(self, state, player):
        found = []
        for row in range(self.size):
            for column in range(self.size):
                if state.grid[row][column] != ".":
                    continue
                if self.name == "delflank":
                    ok = any(self.at(state.grid, row + r, column + c) == player for r, c in AROUND)
                else:
                    ok = any(self.run(state.grid, row, column, direction, player) for direction in self.flanked)
                if ok:
                    found.append((row, column))
        return found

    def over(self, state):
        if self.published_variant and state.steps == 60:
            return True
        blocked = not self.squares(state, "b") and not self.squares(state, "w")
        return blocked and (state.passes == 2 if self.published_variant else True)

    def moves(self, state):
        if self.over(state):
            return []
        return self.squares(state, state.mover) or [None]

    def ply(self, state, move):
        """One ply or pass, without what follows from it."""
        state = copy.deepcopy(state)
        state.steps += 1
        state.changed = set()
        if move is None:
            state.passes += 1
        else:
            state.passes = 0
            for direction in self.flanked:
                run = self.run(state.grid, *move, direction, state.mover)
                if self.name == "nomidflip" and len(run) > 2:
                    run = [run[0], run[-1]]
                state.changed.update(run)
            for row, column in state.changed:
                state.grid[row][column] = "." if self.name == "delflank" else state.mover
            state.grid[move[0]][move[1]] = state.mover
        state.mover = OTHER[state.mover]
        return state

    def play(self, state, move):
        after = self.ply(state, move)
        if self.passes == "explicit":
            return after
        changed, next_player = after.changed, after.mover
        while self.moves(after) == [None]:
            after = self.ply(after, None)
        after.changed, after.passes = changed, 0
        if not self.squares(after, "b") and not self.squares(after, "w"):
            after.mover = next_player
        return after

    def lines(self, state):
        """All (row, column, direction, length) such that the run rule of the `line` property holds."""
        return {
            (row, column, d, len(run))
            for row in range(self.size)
            for column in range(self.size)
            if state.grid[row][column] == "."
            for d, direction in enumerate(AROUND)
            if (run := self.run(state.grid, row, column, direction, state.mover))
        }

    def perft(self, depth, state=None):
        """Leaves: a pass is a ply (so only for explicit passes), a game over sooner is one leaf."""
        state = state or self.start()
        if depth == 0 or not self.moves(state):
            return 1
        return sum(self.perft(depth - 1, self.ply(state, move)) for move in self.moves(state))

    def write(self, move):
        """A move as text."""
        items = [f"{'abcdefgh'[c]}{r + 1}" for r in range(self.size) for c in range(self.size)] + ["--"]
        code = self.size**2 if move is None else move[0] * self.size + move[1]
        return items[(47 * code + 13) % 65] if self.name == "iago" else items[code]
