"""What lessons work with: boards to look at, discs to flip, an SAE of the student's own, scores that ship."""
