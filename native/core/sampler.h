// Logits to a token: transforms, noise, argmax, in the order that src/outpace/sampling/transforms.py defines.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/filters.h"
#include "core/logits.h"

namespace outpace {

// Reasons for not choosing, in place of a token.
enum NoToken : int64_t { kHasNaN = -1, kAllMasked = -2, kUnknownRecent = -3 };

// What a softmax divides by: the sum of e^(x - best).
struct Partition {
    double best, total;
    std::vector<int32_t> top;
};

// How much of a draft stands: its first n tokens, and the token chosen after them, or a NoToken.
struct Accepted {
    size_t n;
    int64_t token;
};

// A guess for what `choose` will give, or a NoToken, and the share of the raw logits that it has.
struct Guess {
    int64_t token;
    double chance;
};

// Holds settings alone; calls may run on several threads at once.
class Sampler {
  public:
    Sampler(const SampleKernels& kernels, size_t n_vocab, SamplerSettings settings)
        : kernels_(kernels), n_vocab_(n_vocab), settings_(std::move(settings)) {}

    size_t n_vocab() const { return n_vocab_; }

    // The token at `position`, or a NoToken. `recent` is what the penalties look at, no more.
    int64_t choose(const float* logits, uint64_t position, const std::vector<int64_t>& recent) const {
        return choose({logits, {}, nullptr}, position, recent);
    }

    // As `choose` for a row where logits[i] is that of tokens[i], no token twice, and every other token is masked; no
    // tokens stand for all. Costs least where they begin with 0, 1, 2, ... Throws std::invalid_argument for a token
    // outside the vocabulary.
    Guess guess(const float* logits, std::span<const int32_t> tokens, uint64_t position,
                const std::vector<int64_t>& recent) const;

    // Keeps the drafted tokens that `choose` would have chosen from first_row, first_row + 1, ..., the first of them at
    // `position`; a row is looked at only if the one before it chose its token of the draft. `recent` are the tokens
    // before it, as many of the latest as `window` says. Throws std::invalid_argument when there are too few rows.
    Accepted accept(std::span<const int64_t> draft, const Logits& logits, size_t first_row, uint64_t position,
                    std::vector<int64_t> recent, size_t window) const;

    // Of the logits as they are; `top` holds the ids of the `count` largest, largest first. None is NaN.
    Partition partition(const float* logits, size_t count) const;

  private:
    struct Row {
        const float* logits;
        std::span<const int32_t> tokens;  // of each logit; none for all, in order
        const float* peaks;               // the largest of every chunk, or null to look for them
    };

    int64_t choose(Row row, uint64_t position, const std::vector<int64_t>& recent) const;
    bool adjust(float* logits, std::span<const int32_t> tokens, const std::vector<int64_t>& recent) const;
    int32_t token_of(const Row& row, size_t place) const;
    int64_t lowest_with(const Row& row, float logit) const;
    void find_from(const float* logits, size_t begin, size_t n, float floor) const;
    const float* by_token(const Row& row) const;
    int64_t noisy_argmax_of_some(const Row& row, NoiseKey key) const;
    int64_t noisy_argmax_of_ids(const float* logits, NoiseKey key) const;
    int64_t best_of_ids(const float* logits, NoiseKey key) const;

    const SampleKernels& kernels_;
    const size_t n_vocab_;
    const SamplerSettings settings_;
};

}  // namespace outpace
