// Which tokens of a row may be chosen: top_k, typical_p, top_p and min_p over lists of ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/sampling.h"

namespace outpace {

// Nothing above -inf is below it.
constexpr float kLowest = std::numeric_limits<float>::lowest();

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

struct Weighted {
    float key;
    int32_t id, weight;
};

// Buffers that keep their capacity between calls; contents never outlive a call.
struct Scratch {
    std::vector<float> row, wide, masked, peaks, chunk_max, groups, keys;
    std::vector<int32_t> found, ids, weights;
    std::vector<int64_t> sums;
    std::vector<uint16_t> buckets;
    std::vector<Weighted> border;
};

// This thread's.
Scratch& scratch();

// A logit that at least `count` tokens reach, of those whose chunks' largest are in scratch.
float floor_for(size_t count, Scratch& s);

// Leaves of scratch's ids the `count` with the largest logits, ties to the lower id, in order if asked.
void keep_largest(const float* logits, size_t count, bool sorted, Scratch& s);

// Leaves those that the filters after top_k keep, in no set order; `logits` are by id.
void keep_likely(const SampleKernels& kernels, const SamplerSettings& settings, const float* logits, Scratch& s);

}  // namespace outpace
