"""Random bits that are the same on every machine: one word of state for each game."""


class SplitMix64:
    """Steele, Lea and Flood's 64-bit generator: one word of state, so a game's seed is all there is to know."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def draw(self) -> int:
        """The next 64 random bits."""
        mask = 0xFFFFFFFFFFFFFFFF
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        bits = ((self.state ^ (self.state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        return bits ^ (bits >> 31)
