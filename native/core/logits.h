// What a step hands to a sampler.
#pragma once

#include <cstddef>

namespace outpace {

// Logits as a step left them: n_rows rows of n values, `stride` apart, and the largest of every kSampleChunk of them.
struct Logits {
    const float* rows;
    size_t stride, n_rows, n;
    const float* peaks;  // [n_rows][chunks of n], NaN where a logit is
};

}  // namespace outpace
