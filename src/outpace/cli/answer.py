"""An answer written to standard output as it comes, and its closing line of statistics."""

from __future__ import annotations

import sys

from outpace.cli.paint import Painter, harmless
from outpace.cli.progress import Meter, note
from outpace.engine.result import Result
from outpace.engine.stream import Stream


def write(stream: Stream, meter: Meter, painter: Painter | None = None) -> Result:
    """Write an answer piece by piece and end its last line; ^C ends it early.

    Args:
        stream: Where it comes from.
        meter: Shows how far the prompt is read; closed when the first text comes.
        painter: Colours what was drafted.

    Returns:
        The answer; `cancelled` after ^C.
    """
    out = sys.stdout
    is_terminal = out.isatty()
    n_written = 0
    ends_line = True
    try:
        for piece in stream:
            meter.close()
            if piece.text:
                out.write(painter(piece) if painter else harmless(piece.text) if is_terminal else piece.text)
                out.flush()
                n_written += len(piece.text)
                ends_line = piece.text.endswith("\n")
            elif painter:
                painter(piece)
    except KeyboardInterrupt:
        pass
    finally:
        meter.close()
        stream.close()
    result = stream.result
    # What was held back for a stop string or half a character.
    rest = result.text[n_written:]
    if rest:
        out.write(painter.paint(rest) if painter else harmless(rest) if is_terminal else rest)
        ends_line = rest.endswith("\n")
    out.write("" if ends_line else "\n")
    out.flush()
    return result


def close(result: Result) -> None:
    """Say on standard error what was changed of the request, and what the answer took."""
    for each in result.notes:
        note(each)
    note(statistics(result))


def statistics(result: Result) -> str:
    """Return what an answer took, in words."""
    timings, drafting = result.timings, result.speculation
    parts = []
    if result.finish_reason == "cancelled":
        parts.append("interrupted")
    parts.append(f"{_tokens(timings.predicted_n)} at {timings.predicted_per_s:.1f} tokens/s")
    parts.append(f"prompt of {_tokens(timings.prompt_n)} at {timings.prompt_per_s:.0f} tokens/s")
    parts.append(f"loaded in {timings.load_s:.2f} s")
    if drafting.drafter == "none":
        parts.append("no drafting")
    elif drafting.rounds:
        text = f"{drafting.drafter} drafting: {drafting.tokens_per_round:.2f} tokens per round"
        if drafting.drafted:
            share = 100 * drafting.accepted / drafting.drafted
            text += f", {drafting.accepted} of {drafting.drafted} guesses kept ({share:.0f}%)"
        parts.append(text)
    return "; ".join(parts)


def _tokens(n: int) -> str:
    return f"{n} token{'' if n == 1 else 's'}"
