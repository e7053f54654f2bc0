"""Why something given can't be used: a sentence and its values, so that it can be said in any language."""

from __future__ import annotations


class Refusal(ValueError):
    """In English as text; `sentence` is looked up among the translations before `values` are put into it."""

    def __init__(self, sentence: str, /, *, field: str = "", **values: object) -> None:
        self.sentence, self.field, self.values = sentence, field, values
        super().__init__(f"{field}: {self.expected}" if field else self.expected)

    @property
    def expected(self) -> str:
        """The sentence in English, without the field it is about."""
        return self.sentence % self.values if self.values else self.sentence
