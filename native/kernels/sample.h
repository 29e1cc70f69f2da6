// Kernels of the sampler: scans over one row of logits, and the argmax under noise.
//
//   noisy_argmax:  the lowest i that maximises x_i * factor + g_i,  g_i = gumbel(seed, position, i)
//
// Shapes: one row [V], any alignment; chunks of 64 tokens, the last one padded with -inf.
// Order: a maximum has none, and nothing else is added across lanes but exp_sum, whose order sampling.h fixes.
// Speed: noise is at most 22.2, so a chunk whose best logit is further than that below the score to beat is not
//   looked at, and in the others only lanes whose random word could reach that score get the two logarithms.
//   Neither changes the result: both bounds are loose by more than any rounding.
#pragma once

#include <limits>

#include "kernels/noise.h"

namespace outpace {
namespace {
namespace sampling {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNoiseBound = 22.5f;

// Calls f(chunk index, 64 values) for each chunk of a row, the last one from a padded copy.
template <class F>
OUTPACE_INLINE void each_chunk(const float* x, size_t n, F&& f) {
    const size_t whole = n / kSampleChunk;
    for (size_t c = 0; c < whole; ++c) f(c, x + c * kSampleChunk);
    if (const size_t rest = n % kSampleChunk) {
        float padded[kSampleChunk];
        for (size_t i = 0; i < kSampleChunk; ++i) padded[i] = i < rest ? x[whole * kSampleChunk + i] : -kInfinity;
        f(whole, padded);
    }
}

inline bool chunk_max(const float* x, size_t n, float* out) {
    uint32_t nan = 0;
    each_chunk(x, n, [&](size_t c, const float* v) {
        const f32x16 a = load(v), b = load(v + 16), e = load(v + 32), d = load(v + 48);
        nan |= mask_nan(a) | mask_nan(b) | mask_nan(e) | mask_nan(d);
        out[c] = largest(max(max(a, b), max(e, d)));
    });
    return nan == 0;
}

inline float max_of(const float* x, size_t n) {
    f32x16 best = set1(-kInfinity);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) best = max(best, load(x + i));
    float top = largest(best);
    for (; i < n; ++i) top = x[i] > top ? x[i] : top;
    return top;
}

inline size_t find(const float* x, size_t n, float value) {
    const f32x16 wanted = set1(value);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        if (const uint32_t hit = mask_eq(load(x + i), wanted)) return i + static_cast<size_t>(__builtin_ctz(hit));
    while (i < n && x[i] != value) ++i;
    return i;
}

inline size_t collect(const float* x, size_t n, const float* chunk_max, float floor, int32_t* ids) {
    const f32x16 least = set1(floor);
    size_t count = 0;
    each_chunk(x, n, [&](size_t c, const float* v) {
        if (chunk_max[c] < floor) return;
        for (size_t i = 0; i < kSampleChunk; i += 16)
            for (uint32_t hit = mask_ge(load(v + i), least); hit != 0; hit &= hit - 1)
                ids[count++] = static_cast<int32_t>(c * kSampleChunk + i) + __builtin_ctz(hit);
    });
    return count;
}

// The largest k whose noise could still lift a token at `top` to the score `bar`.
OUTPACE_INLINE int32_t last_useful(float top, float bar) {
    const double gap = static_cast<double>(bar) - static_cast<double>(top);
    const double slack = 1e-3 + 1e-6 * (std::fabs(static_cast<double>(bar)) + std::fabs(static_cast<double>(top)));
    const double w = std::exp(slack - gap);  // P(g > y) = 1 - exp(-e^-y) < e^-y
    return w < 0.9 ? static_cast<int32_t>(w * 0x1p31) + 2 : INT32_MAX;
}

// The best of one chunk among the lanes with k <= last; `score` rises and `id` follows when it is beaten.
OUTPACE_INLINE void noisy_chunk(const float* v, size_t c, float factor, NoiseKey key, int32_t last, float& score,
                                size_t& id) {
    alignas(64) static const int32_t kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    i32x16 words[4];
    philox(add(load_i32(kLanes), set1_i32(static_cast<int32_t>(16 * c))), key, words);
    for (size_t w = 0; w < 4; ++w) {
        const i32x16 k = shift_right<1>(words[w]);
        uint32_t hit = mask_le(k, set1_i32(last));
        if (hit == 0) continue;
        alignas(64) float scores[16];
        store(scores, add(mul(load(v + 16 * w), set1(factor)), gumbel_of(k)));
        for (; hit != 0; hit &= hit - 1) {
            const size_t lane = static_cast<size_t>(__builtin_ctz(hit));
            const bool is_first = id == SIZE_MAX && v[16 * w + lane] != -kInfinity;
            if (scores[lane] > score || is_first) {
                score = scores[lane];
                id = c * kSampleChunk + 16 * w + lane;
            }
        }
    }
}

inline size_t noisy_argmax(const float* x, size_t n, const float* chunk_max, float factor, NoiseKey key) {
    // A first score to beat, from the chunk with the best logit; then every chunk in order.
    const size_t n_chunks = (n + kSampleChunk - 1) / kSampleChunk;
    const size_t first = find(chunk_max, n_chunks, max_of(chunk_max, n_chunks));
    float bar = -kInfinity, score = -kInfinity;
    size_t id = SIZE_MAX, scout = SIZE_MAX;
    if (n_chunks > 1 && (first + 1) * kSampleChunk <= n)
        noisy_chunk(x + first * kSampleChunk, first, factor, key, INT32_MAX, bar, scout);
    each_chunk(x, n, [&](size_t c, const float* v) {
        const float top = chunk_max[c] * factor;
        if (top + kNoiseBound < bar) return;
        noisy_chunk(v, c, factor, key, last_useful(top, bar), score, id);
        bar = score > bar ? score : bar;
    });
    return id;
}

inline void gumbel(const int32_t* ids, size_t n, NoiseKey key, float* out) {
    for (size_t i = 0; i < n; i += 16) {
        const size_t m = n - i < 16 ? n - i : 16;
        alignas(64) int32_t lanes[16] = {};
        for (size_t j = 0; j < m; ++j) lanes[j] = (ids[i + j] >> 6) * 16 + (ids[i + j] & 15);
        i32x16 words[4];
        philox(load_i32(lanes), key, words);
        alignas(64) int32_t all[4][16];
        for (int w = 0; w < 4; ++w) store_i32(all[w], shift_right<1>(words[w]));
        for (size_t j = 0; j < m; ++j) lanes[j] = all[(ids[i + j] >> 4) & 3][j];
        alignas(64) float noise[16];
        store(noise, gumbel_of(load_i32(lanes)));
        for (size_t j = 0; j < m; ++j) out[i + j] = noise[j];
    }
}

inline void weights(const float* distance, size_t n, int32_t* out) {
    const auto sixteen = [](const float* d, int32_t* w) { store_i32(w, to_i32(exp_scaled(sub(zero(), load(d)), 30))); };
    const size_t rest = n % 16, whole = n - rest;
    for (size_t i = 0; i < whole; i += 16) sixteen(distance + i, out + i);
    float d[16] = {};
    int32_t w[16];
    std::memcpy(d, distance + whole, rest * sizeof(float));
    sixteen(d, w);
    std::memcpy(out + whole, w, rest * sizeof(int32_t));
}

inline double exp_sum(const float* x, size_t n, float best) {
    const auto terms = [best](const float* v) { return exp_scaled(sub(load(v), set1(best)), 0); };
    const size_t rest = n % 16, whole = n - rest;
    f64x16 sums = {};
    for (size_t i = 0; i < whole; i += 16) sums = add(sums, terms(x + i));
    alignas(64) double lanes[16];
    store(lanes, sums);
    alignas(64) float last[16] = {};
    std::memcpy(last, x + whole, rest * sizeof(float));
    store(last, terms(last));
    for (size_t j = 0; j < rest; ++j) lanes[j] += static_cast<double>(last[j]);
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    return lanes[0];
}

}  // namespace sampling

OUTPACE_INLINE SampleKernels sample_kernels() {
    return {
        .chunk_max = sampling::chunk_max,
        .max = sampling::max_of,
        .find = sampling::find,
        .collect = sampling::collect,
        .noisy_argmax = sampling::noisy_argmax,
        .gumbel = sampling::gumbel,
        .weights = sampling::weights,
        .exp_sum = sampling::exp_sum,
    };
}

}  // namespace
}  // namespace outpace
