"""What is refused, in one word that the vectors name too."""


class Refused(Exception):
    """Something that the specification forbids. `word` is stable, the rest is for people."""

    def __init__(self, word, detail=""):
        super().__init__(f"{word}: {detail}" if detail else word)
        self.word = word
        self.detail = detail


class Fatal(Refused):
    """A refusal that ends the link (SPEC 1)."""
