// Logits to a token: transforms, noise, argmax, in the order that src/outpace/sampling/transforms.py defines.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/logits.h"
#include "kernels/sampling.h"

namespace outpace {

// Settings of one request, already checked; the two floats derived from them are computed once, in Python.
struct SamplerSettings {
    uint64_t seed;
    float inverse_temperature;  // 0 is greedy
    int64_t top_k;              // 0 is off
    double typical_p, top_p;    // 1 is off
    float min_p_offset;         // log(min_p), -inf is off
    float repeat_penalty, presence_penalty, frequency_penalty;
    std::vector<std::pair<int32_t, float>> logit_bias;
};

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

// Holds settings alone; calls may run on several threads at once.
class Sampler {
  public:
    Sampler(const SampleKernels& kernels, size_t n_vocab, SamplerSettings settings)
        : kernels_(kernels), n_vocab_(n_vocab), settings_(std::move(settings)) {}

    size_t n_vocab() const { return n_vocab_; }

    // The token at `position`, or a NoToken. `recent` is what the penalties look at, no more.
    int64_t choose(const float* logits, uint64_t position, const std::vector<int64_t>& recent) const {
        return choose(logits, nullptr, position, recent);
    }

    // Keeps the drafted tokens that `choose` would have chosen from first_row, first_row + 1, ..., the first of them at
    // `position`; a row is looked at only if the one before it chose its token of the draft. `recent` are the tokens
    // before it, as many of the latest as `window` says. Throws std::invalid_argument when there are too few rows.
    Accepted accept(std::span<const int64_t> draft, const Logits& logits, size_t first_row, uint64_t position,
                    std::vector<int64_t> recent, size_t window) const;

    // Of the logits as they are; `top` holds the ids of the `count` largest, largest first. None is NaN.
    Partition partition(const float* logits, size_t count) const;

  private:
    int64_t choose(const float* logits, const float* peaks, uint64_t position,
                   const std::vector<int64_t>& recent) const;
    bool adjust(float* row, const std::vector<int64_t>& recent) const;
    int64_t noisy_argmax_of_ids(const float* logits, NoiseKey key) const;
    int64_t choose_kept(const float* logits, NoiseKey key) const;

    const SampleKernels& kernels_;
    const size_t n_vocab_;
    const SamplerSettings settings_;
};

}  // namespace outpace
