"""Steps until sequences have ended; whatever interrupts it leaves the engine whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from collections.abc import Sequence as List
from types import FrameType

from outpace.engine.engine import Engine
from outpace.engine.sequence import Feed, Sequence


def run(engine: Engine, sequences: List[Sequence]) -> Generator[list[Feed], None, None]:
    """Run until all of `sequences` have ended, one step for each item asked for.

    Others that the engine has run along. If the caller stops asking, or an error or ^C ends it, those of `sequences`
    that have not ended are cancelled and their memory is given back.
    """
    for sequence in sequences:
        engine.add(sequence)
    left = list(sequences)
    interrupts = Interrupts()
    try:
        while left:
            interrupts.is_in_step = True
            feeds = engine.step()
            interrupts.is_in_step = False
            assert feeds, "sequences wait, but none has a turn"
            if interrupts.is_pending:
                raise KeyboardInterrupt
            yield feeds
            for each in left:
                if each.finish_reason is not None:
                    left = [each for each in left if each.finish_reason is None]
                    break
    finally:
        interrupts.release()
        for sequence in left:
            engine.cancel(sequence)


class Interrupts:
    """Holds back ^C while a step runs, and lets it out after: a step is done or not, never half.

    Between steps ^C does what it always does. Only the main thread is interrupted by it, and only its default handling
    is replaced, once for a whole run: two system calls for each step would cost as much as the rest of the loop.
    """

    __slots__ = ("_is_held", "is_in_step", "is_pending")

    def __init__(self) -> None:
        self.is_in_step = self.is_pending = False
        self._is_held = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._is_held:
            signal.signal(signal.SIGINT, self._interrupt)

    def release(self) -> None:
        """Put the default handling back."""
        if self._is_held:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self.is_in_step:
            signal.default_int_handler(number, frame)
        self.is_pending = True
