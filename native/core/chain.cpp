#include "core/chain.h"

#include <algorithm>

namespace outpace {
namespace {

// The chance that a guess is kept if those before it are.
double calibrated(const ChainRule& rule, double chance) {
    const size_t n_classes = rule.shifts.size() - 1;
    const size_t at = std::min(static_cast<size_t>(chance * static_cast<double>(n_classes)), n_classes);
    const double found = std::min(std::max(chance + rule.shifts[at], 0.0), rule.surest);
    return found >= rule.p_min ? found : 0.0;
}

}  // namespace

Chain guess_chain(Program& program, Offset logits, Offset exported, const ChainStart& from, const Sampler& sampler,
                  std::span<const int32_t> tokens, size_t most, const ChainRule& rule) {
    Chain chain;
    SegmentView segment = from.segment;
    const int end = segment.start + segment.n_rows;
    int32_t last = segment.n_rows - 1, token;
    StepView step = {from.rows, {&segment, 1}, {&from.n_pages, 1}, {&last, 1}, {&last, 1}};
    step.hidden = from.hidden;
    step.hidden_rows = from.rows.size();
    step.hidden_width = step.hidden_stride = from.hidden_width;
    std::vector<float> hidden(from.hidden_width);
    double worth = 1.0;
    for (int position = end;; ++position) {
        program.run(step);
        ++chain.n_steps;
        const Guess guess = sampler.guess(program.floats(logits), tokens, static_cast<uint64_t>(position), {});
        if (guess.token < 0) return chain;
        chain.tokens.push_back(guess.token);
        chain.chances.push_back(guess.chance);
        worth *= calibrated(rule, guess.chance);
        const size_t n = chain.tokens.size();
        if (n >= most || n > rule.least.size() || !(worth > rule.least[n - 1])) return chain;
        // A copy: the next step writes over what this one left.
        std::copy_n(program.floats(exported), hidden.size(), hidden.data());
        token = static_cast<int32_t>(guess.token);
        last = 0;
        segment.start = position;
        segment.n_rows = 1;
        step.tokens = {&token, 1};
        step.hidden = hidden.data();
        step.hidden_rows = 1;
    }
}

}  // namespace outpace
