// The sampling kernels that one tier exports. Plain C types only: nothing here may carry inline code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outpace {

// Tokens in a chunk: four vectors, and what sixteen Philox blocks cover.
constexpr size_t kSampleChunk = 64;

struct NoiseKey {
    uint64_t seed;
    uint64_t position;
};

struct SampleKernels {
    // out[c] = the largest of x[64 c, 64 c + 64); false when some x is NaN.
    bool (*chunk_max)(const float* x, size_t n, float* out);
    // Largest of n > 0 values, none of them NaN.
    float (*max)(const float* x, size_t n);
    // Index of the first x[i] == value; n when there is none.
    size_t (*find)(const float* x, size_t n, float value);
    // Writes the i with x[i] >= floor, a number above -inf, in order, and returns how many; ids holds n.
    size_t (*collect)(const float* x, size_t n, const float* chunk_max, float floor, int32_t* ids);
    // The lowest i that maximises x[i] * factor + gumbel(i); some x[i] is above -inf.
    size_t (*noisy_argmax)(const float* x, size_t n, const float* chunk_max, float factor, NoiseKey key);
    // out[i] = gumbel(ids[i])
    void (*gumbel)(const int32_t* ids, size_t n, NoiseKey key, float* out);
    // out[i] = 2^30 * e^-distance[i], rounded to whole numbers.
    void (*weights)(const float* distance, size_t n, int32_t* out);
    // Sum of e^(x[i] - best) in float64: lane i % 16 in order of i, then lanes as halves 0+8, ..., 0+4, ...
    double (*exp_sum)(const float* x, size_t n, float best);
};

}  // namespace outpace
