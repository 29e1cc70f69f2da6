// Verbs that work on one row at a time: norm, activation quantising, SwiGLU, rotary, sums.
// Sums run over 16 lanes along the row, lane by lane in order, then as a tree of halves (simd.h).
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd.h"

namespace outpace {
namespace {

// Calls f(i, x) for 16 values at a time; the tail is padded with zeros and f's result for it is cut.
template <class F>
OUTPACE_INLINE void map_row(const float* x, int n, float* out, F&& f) {
    int i = 0;
    for (; i + 16 <= n; i += 16) store(out + i, f(i, load(x + i)));
    if (i < n) {
        float in[16] = {}, tail[16];
        std::memcpy(in, x + i, static_cast<size_t>(n - i) * sizeof(float));
        store(tail, f(i, load(in)));
        std::memcpy(out + i, tail, static_cast<size_t>(n - i) * sizeof(float));
    }
}

// 16 values from p, zeros past n.
OUTPACE_INLINE f32x16 load_part(const float* p, int n) {
    if (n >= 16) return load(p);
    float in[16] = {};
    std::memcpy(in, p, static_cast<size_t>(n) * sizeof(float));
    return load(in);
}

void rms_norm(const float* x, const float* w, int n, float eps, float* out) {
    f32x16 squares = zero();
    for (int i = 0; i < n; i += 16) {
        const f32x16 v = load_part(x + i, n - i);
        squares = fma(v, v, squares);
    }
    const float scale = 1.0f / std::sqrt(sum(squares) / static_cast<float>(n) + eps);
    map_row(x, n, out, [&](int i, f32x16 v) { return mul(mul(v, set1(scale)), load_part(w + i, n - i)); });
}

// Blocks of 32 (n a multiple of 32): d = max|x| / 127, q = x / d to nearest even. Deterministic for NaN and infinity.
void quantize(const float* x, int n, int8_t* q, BlockScale* s) {
    for (int b = 0; b < n; b += kBlock, x += kBlock, q += kBlock, ++s) {
        const f32x16 lo = load(x), hi = load(x + 16);
        const float top = max(max(abs(lo), abs(hi)));
        const float d = top / 127.0f, inverse = top > 0.0f ? 127.0f / top : 0.0f;
        // Codes outside int8 (NaN, infinity) lose their upper bits alike on every tier; so do their sums.
        store_i8(q, to_i32(mul(lo, set1(inverse))));
        store_i8(q + 16, to_i32(mul(hi, set1(inverse))));
        const int32_t first = sum(to_i32(load_i8(q))), second = sum(to_i32(load_i8(q + 16)));
        s->d = d;
        s->ds = d * static_cast<float>(first + second);
        s->n8 = -8 * (first + second);
        s->n8a = -8 * first;
    }
}

OUTPACE_INLINE f32x16 silu16(f32x16 x) { return div(x, add(set1(1.0f), exp(sub(zero(), x)))); }

void swiglu(const float* gate, const float* up, int n, float* out) {
    map_row(gate, n, out, [&](int i, f32x16 g) { return mul(silu16(g), load_part(up + i, n - i)); });
}

void silu(const float* x, int n, float* out) {
    map_row(x, n, out, [](int, f32x16 v) { return silu16(v); });
}

void add_rows(const float* x, const float* y, int n, float* out) {
    map_row(x, n, out, [&](int i, f32x16 v) { return add(v, load_part(y + i, n - i)); });
}

void mul_rows(const float* x, const float* y, int n, float* out) {
    map_row(x, n, out, [&](int i, f32x16 v) { return mul(v, load_part(y + i, n - i)); });
}

void scale_row(const float* x, float factor, int n, float* out) {
    map_row(x, n, out, [&](int, f32x16 v) { return mul(v, set1(factor)); });
}

// cos_sin: dims / 2 cosines, then dims / 2 sines. Pairs are neighbours (norm) or halves (neox).
void rope_head(const float* x, int head_dim, RopeArgs rope, float factor, float* out) {
    const int half = rope.dims / 2;
    const float *c = rope.cos_sin, *s = rope.cos_sin + half;
    if (rope.neox) {
        for (int i = 0; i < half; ++i) {
            const float a = x[i], b = x[i + half];
            out[i] = (a * c[i] - b * s[i]) * factor;
            out[i + half] = (a * s[i] + b * c[i]) * factor;
        }
    } else {
        for (int i = 0; i < half; ++i) {
            const float a = x[2 * i], b = x[2 * i + 1];
            out[2 * i] = (a * c[i] - b * s[i]) * factor;
            out[2 * i + 1] = (a * s[i] + b * c[i]) * factor;
        }
    }
    for (int i = rope.dims; i < head_dim; ++i) out[i] = x[i] * factor;
}

}  // namespace
}  // namespace outpace
