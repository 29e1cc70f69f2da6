"""Steps until sequences have ended; whatever interrupts it leaves the engine whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from collections.abc import Sequence as List
from types import FrameType, TracebackType

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
    try:
        while left:
            with Uninterrupted():
                feeds = engine.step()
            assert feeds, "sequences wait, but none has a turn"
            yield feeds
            left = [each for each in left if each.finish_reason is None]
    finally:
        for sequence in left:
            engine.cancel(sequence)


class Uninterrupted:
    """Holds back ^C while a step runs, and lets it out after: a step is done or not, never half.

    Only the main thread is interrupted by ^C, and only its default handling is held back.
    """

    __slots__ = ("_is_held", "_is_pending")

    def __enter__(self) -> None:
        self._is_pending = False
        self._is_held = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._is_held:
            signal.signal(signal.SIGINT, self._remember)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._is_held:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._is_pending:
                raise KeyboardInterrupt

    def _remember(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's arguments
        self._is_pending = True
