"""Learning from pairs of replies, or from thumbs."""
