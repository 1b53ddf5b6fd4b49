"""What threads hold together is bounded, without a bound for each of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

SMALL = 1000


class Budget:
    """An amount that threads share; one that wants more than is left waits, and more than all of it is had alone."""

    def __init__(self, whole: int) -> None:
        self.whole, self.taken, self.freed = whole, 0, Condition()

    @contextmanager
    def share(self, amount: int) -> Iterator[None]:
        """Hold an amount for as long as the context lasts; what is a thousandth of the whole or less is not counted."""
        if amount * SMALL <= self.whole:
            yield
            return
        with self.freed:
            self.freed.wait_for(lambda: not self.taken or self.taken + amount <= self.whole)
            self.taken += amount
        try:
            yield
        finally:
            with self.freed:
                self.taken -= amount
                self.freed.notify_all()
