// A chain of guesses: a draft program that is run again and again, each time from its own guess and hidden state.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/program.h"
#include "core/sampler.h"

namespace outpace {

// What a guess must be worth for another one to be made after it; see outpace.speculate.rule, its twin.
struct ChainRule {
    std::vector<double> least;   // for each number of guesses, from 1 on
    std::vector<double> shifts;  // for each class of confidence; the last is certainty's
    double p_min, surest;
};

// Where a chain begins: the rows of one sequence up to its last token, as in a step, and the hidden state before each.
struct ChainStart {
    std::span<const int32_t> rows;
    SegmentView segment;
    size_t n_pages;
    const float* hidden;  // [rows][hidden_width]
    size_t hidden_width;
};

struct Chain {
    std::vector<int64_t> tokens;
    std::vector<double> chances;
    size_t n_steps = 0;  // one more than the tokens where the last step gave none; why, its logits say
};

// Guesses up to `most` tokens of one sequence, at least one.
//   logits, exported: where the program leaves those of a step's first wanted row, and its hidden state
//   tokens: those that the logits are of (none: all); see Sampler::guess
// Throws std::invalid_argument as Program::run and Sampler::guess do; what ran before stays staged.
Chain guess_chain(Program& program, Offset logits, Offset exported, const ChainStart& from, const Sampler& sampler,
                  std::span<const int32_t> tokens, size_t most, const ChainRule& rule);

}  // namespace outpace
