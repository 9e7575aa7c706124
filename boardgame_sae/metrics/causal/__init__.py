"""What only a game permits: change the board that a model holds inside, and ask whether its moves follow the rules."""
