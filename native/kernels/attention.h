// Causal attention of T query rows over one sequence's paged cache, for one kv head.
//
// Formula: o = sum_p softmax_p(q . k_p) v_p over positions p <= the row's own; q arrives scaled.
// Layout of a page of 64 positions, head after head: f16: K [head_dim][64], V [64][head_dim];
//   q8_0: K int8 [head_dim][64], its f16 scales [blocks][64], V int8 [64][head_dim], its f16 scales [64][blocks],
//   blocks = head_dim / 32 rounded up. Keys lie transposed so that 16 positions are one vector and no sum is
//   horizontal.
// Reduction order: the context is cut in chunks of 256 positions by absolute position. In a chunk scores sum along
//   head_dim in order, the exponentials' sum runs over 16 lanes in order and then as a tree, values sum in order of
//   position. Chunks are merged in order, first to last. None of it depends on how many rows or threads share the work.
// Modes: one unit walks all chunks of its rows, or units take chunks apart and `attention_combine` merges the parts
//   with the same operations in the same order.
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd_u8.h"

namespace outpace {
namespace {

constexpr int kPage = 64;
constexpr int kChunk = 256;
#if defined(__AVX512F__)
constexpr int kQueries = 8;  // query rows that share one read of K and V
constexpr int kValueVectors = 2;
#elif defined(__AVX2__)
constexpr int kQueries = 4;
constexpr int kValueVectors = 1;
#else
constexpr int kQueries = 1;
constexpr int kValueVectors = 1;
#endif

OUTPACE_INLINE float half_to_float(uint16_t h) {
#if defined(__AVX2__)
    return _cvtsh_ss(h);
#else
    return f16_to_f32(h);
#endif
}

OUTPACE_INLINE uint16_t float_to_half(float x) {
#if defined(__AVX2__)
    return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
#else
    return f32_to_f16(x);
#endif
}

// Where one head's keys and values lie in a page.
struct F16Page {
    const uint16_t *k, *v;
    int head_dim;

    F16Page(const KVLayer& kv, const uint8_t* page, int head) : head_dim(kv.head_dim) {
        k = reinterpret_cast<const uint16_t*>(page) + static_cast<size_t>(head) * 2 * head_dim * kPage;
        v = k + static_cast<size_t>(head_dim) * kPage;
    }

    // q . k for 16 positions from `at`, N queries that lie as [head_dim][N].
    template <int N>
    OUTPACE_INLINE void scores(const float* q, int at, f32x16 (&s)[N]) const {
        for (int n = 0; n < N; ++n) s[n] = zero();
        for (int i = 0; i < head_dim; ++i) {
            const f32x16 key = load_f16(k + i * kPage + at);
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) s[n] = fma(key, set1(q[i * N + n]), s[n]);
        }
    }
    OUTPACE_INLINE f32x16 value(int at, int i) const { return load_f16(v + at * head_dim + i); }
};

struct Q8Page {
    const int8_t *k, *v;
    const uint16_t *k_scale, *v_scale;
    int head_dim, n_blocks;

    Q8Page(const KVLayer& kv, const uint8_t* page, int head)
        : head_dim(kv.head_dim), n_blocks((kv.head_dim + kBlock - 1) / kBlock) {
        const size_t values = static_cast<size_t>(head_dim) * kPage, scales = static_cast<size_t>(n_blocks) * kPage * 2;
        const uint8_t* p = page + static_cast<size_t>(head) * 2 * (values + scales);
        k = reinterpret_cast<const int8_t*>(p);
        k_scale = reinterpret_cast<const uint16_t*>(p + values);
        v = reinterpret_cast<const int8_t*>(p + values + scales);
        v_scale = reinterpret_cast<const uint16_t*>(p + 2 * values + scales);
    }

    template <int N>
    OUTPACE_INLINE void scores(const float* q, int at, f32x16 (&s)[N]) const {
        for (int n = 0; n < N; ++n) s[n] = zero();
        for (int b = 0; b < n_blocks; ++b) {
            f32x16 part[N];
            for (int n = 0; n < N; ++n) part[n] = zero();
            const int end = b * kBlock + kBlock < head_dim ? b * kBlock + kBlock : head_dim;
            for (int i = b * kBlock; i < end; ++i) {
                const f32x16 key = load_i8(k + i * kPage + at);
#pragma GCC unroll 8
                for (int n = 0; n < N; ++n) part[n] = fma(key, set1(q[i * N + n]), part[n]);
            }
            const f32x16 d = load_f16(k_scale + b * kPage + at);
            for (int n = 0; n < N; ++n) s[n] = fma(part[n], d, s[n]);
        }
    }
    OUTPACE_INLINE f32x16 value(int at, int i) const {
        return mul(load_i8(v + at * head_dim + i), set1(half_to_float(v_scale[at * n_blocks + i / kBlock])));
    }
};

// Running result of a query: maximum, sum, then head_dim values.
struct Merged {
    float* p;
    OUTPACE_INLINE float& top() const { return p[0]; }
    OUTPACE_INLINE float& total() const { return p[1]; }
    OUTPACE_INLINE float* values() const { return p + 2; }
};

OUTPACE_INLINE float exp1(float x) {
    float lane[16];
    store(lane, exp(set1(x)));
    return lane[0];
}

OUTPACE_INLINE void merge(Merged into, Merged from, int head_dim) {
    const float top = into.top() > from.top() ? into.top() : from.top();
    const float a = exp1(into.top() - top), b = exp1(from.top() - top);
    into.top() = top;
    into.total() = into.total() * a + from.total() * b;
    for (int i = 0; i < head_dim; i += 16)
        store(into.values() + i, add(mul(load(into.values() + i), set1(a)), mul(load(from.values() + i), set1(b))));
}

OUTPACE_INLINE void finish(Merged m, int head_dim, float* out) {
    for (int i = 0; i < head_dim; i += 16) store(out + i, div(load(m.values() + i), set1(m.total())));
}

// Turns scores into exponentials in place; leaves maximum and sum in `out`.
OUTPACE_INLINE void exponentials(float* s, int n_valid, Merged out) {
    const int padded = (n_valid + 15) / 16 * 16;
    for (int i = n_valid; i < padded; ++i) s[i] = -INFINITY;
    f32x16 top16 = load(s);
    for (int i = 16; i < padded; i += 16) top16 = max(top16, load(s + i));
    const float top = max(top16);
    f32x16 total = zero();
    for (int i = 0; i < padded; i += 16) {
        const f32x16 e = exp(sub(load(s + i), set1(top)));
        store(s + i, e);
        total = add(total, e);
    }
    out.top() = top;
    out.total() = sum(total);
}

template <class Page>
OUTPACE_INLINE Page page_at(const AttentionArgs& a, int head, int position) {
    return Page(a.kv, a.kv.pages + static_cast<size_t>(a.pages[position / kPage]) * a.kv.page_bytes, head);
}

// One chunk for N queries: valid[n] positions from `begin` count for query n (at least one each).
// q: [head_dim][N]; scores: [N][kChunk]; out[n] gets the chunk's maximum, sum and unnormalised values.
template <class Page, int N>
void attend_chunk(const AttentionArgs& a, int head, int begin, const float* q, const int (&valid)[N], float* scores,
                  const Merged (&out)[N]) {
    int most = valid[0], least = valid[0];
    for (int n = 1; n < N; ++n) {
        most = valid[n] > most ? valid[n] : most;
        least = valid[n] < least ? valid[n] : least;
    }
    for (int base = 0; base < most; base += kPage) {
        const Page page = page_at<Page>(a, head, begin + base);
        for (int at = 0; at < kPage && base + at < most; at += 16) {
            f32x16 s[N];
            page.template scores<N>(q, at, s);
            for (int n = 0; n < N; ++n) store(scores + n * kChunk + base + at, s[n]);
        }
    }
    for (int n = 0; n < N; ++n) exponentials(scores + n * kChunk, valid[n], out[n]);
    const int head_dim = a.kv.head_dim;
    for (int i = 0; i < head_dim; i += 16 * kValueVectors) {
        const int vectors = head_dim - i >= 16 * kValueVectors ? kValueVectors : 1;
        f32x16 sums[N][kValueVectors];
        for (int n = 0; n < N; ++n)
            for (int j = 0; j < kValueVectors; ++j) sums[n][j] = zero();
        for (int base = 0; base < least; base += kPage) {
            const Page page = page_at<Page>(a, head, begin + base);
            const int end = least - base < kPage ? least - base : kPage;
            for (int at = 0; at < end; ++at) {
                for (int j = 0; j < vectors; ++j) {
                    const f32x16 v = page.value(at, i + 16 * j);
#pragma GCC unroll 8
                    for (int n = 0; n < N; ++n) sums[n][j] = fma(v, set1(scores[n * kChunk + base + at]), sums[n][j]);
                }
            }
        }
        for (int n = 0; n < N; ++n)
            for (int j = 0; j < vectors; ++j) store(out[n].values() + i + 16 * j, sums[n][j]);
    }
    // What only the later rows see, after what all of them see: still in order of position for each row.
    for (int n = 0; n < N; ++n)
        for (int p = least; p < valid[n]; ++p) {
            const Page page = page_at<Page>(a, head, begin + p);
            for (int i = 0; i < head_dim; i += 16)
                store(out[n].values() + i,
                      fma(page.value(p % kPage, i), set1(scores[n * kChunk + p]), load(out[n].values() + i)));
        }
}

template <class Page, int N>
void attend(const AttentionArgs& a, int head, int first, int chunk_begin, int chunk_end) {
    const int head_dim = a.kv.head_dim, group = a.n_heads / a.kv.n_kv_heads;
    const int state = head_dim + 2;
    float* scores = a.scratch;
    float* parts = scores + kQueries * kChunk;
    float* running = parts + kQueries * state;
    float* turned = running + kQueries * state;  // [head_dim][N]
    float* one = turned + kQueries * head_dim;   // [head_dim] of one query
    const float* q[N];
    for (int n = 0; n < N; ++n) {
        const size_t row = static_cast<size_t>((first + n) / group);
        q[n] = a.q + row * a.q_stride + static_cast<size_t>(head * group + (first + n) % group) * head_dim;
    }
    for (int i = 0; i < head_dim; ++i)
        for (int n = 0; n < N; ++n) turned[i * N + n] = q[n][i];
    for (int chunk = chunk_begin; chunk < chunk_end; ++chunk) {
        // Queries of a later row may see this chunk when those of an earlier one do not.
        int valid[N];
        Merged out[N];
        bool any = false, all = true;
        for (int n = 0; n < N; ++n) {
            const int row = (first + n) / group, h = head * group + (first + n) % group;
            const size_t at = static_cast<size_t>(row);
            const int seen = a.positions[row] + 1 - chunk * kChunk;
            valid[n] = seen < kChunk ? seen : kChunk;
            any |= seen > 0;
            all &= seen > 0;
            out[n] = {a.partial ? a.partial + ((at * a.n_heads + h) * a.partial_chunks + chunk) * state
                                : (chunk == chunk_begin ? running : parts) + n * state};
        }
        if (!any) break;
        if (all) {
            attend_chunk<Page, N>(a, head, chunk * kChunk, turned, valid, scores, out);
        } else {
            for (int n = 0; n < N; ++n) {
                if (valid[n] <= 0) continue;
                for (int i = 0; i < head_dim; ++i) one[i] = q[n][i];
                const int one_valid[1] = {valid[n]};
                const Merged one_out[1] = {out[n]};
                attend_chunk<Page, 1>(a, head, chunk * kChunk, one, one_valid, scores, one_out);
            }
        }
        if (!a.partial && chunk > chunk_begin)
            for (int n = 0; n < N; ++n)
                if (valid[n] > 0) merge({running + n * state}, {parts + n * state}, head_dim);
    }
    if (a.partial) return;
    for (int n = 0; n < N; ++n) {
        const int row = (first + n) / group, h = head * group + (first + n) % group;
        finish({running + n * state}, head_dim,
               a.out + static_cast<size_t>(row) * a.q_stride + static_cast<size_t>(h) * head_dim);
    }
}

template <class Page>
void attend_rows(const AttentionArgs& a, int head, int row_begin, int row_end, int chunk_begin, int chunk_end) {
    const int group = a.n_heads / a.kv.n_kv_heads;
    int first = row_begin * group;
    const int end = row_end * group;
    for (; first + kQueries <= end; first += kQueries) attend<Page, kQueries>(a, head, first, chunk_begin, chunk_end);
    unroll<kQueries>([&](auto n) {
        constexpr int N = decltype(n)::value;
        if constexpr (N > 0)
            if (end - first == N) attend<Page, N>(a, head, first, chunk_begin, chunk_end);
    });
}

void attention(const AttentionArgs& a, int kv_head, int row_begin, int row_end, int chunk_begin, int chunk_end) {
    if (a.kv.kv_type == kF16)
        attend_rows<F16Page>(a, kv_head, row_begin, row_end, chunk_begin, chunk_end);
    else
        attend_rows<Q8Page>(a, kv_head, row_begin, row_end, chunk_begin, chunk_end);
}

// partial: [n_chunks][head_dim + 2] of one row and head; the first is overwritten.
void attention_combine(float* partial, int n_chunks, int head_dim, float* out) {
    const int state = head_dim + 2;
    for (int chunk = 1; chunk < n_chunks; ++chunk) merge({partial}, {partial + chunk * state}, head_dim);
    finish({partial}, head_dim, out);
}

void kv_write(const KVLayer& kv, uint8_t* page, int offset, int head, const float* k, const float* v) {
    const int head_dim = kv.head_dim;
    if (kv.kv_type == kF16) {
        const F16Page at(kv, page, head);
        auto* keys = const_cast<uint16_t*>(at.k);
        auto* values = const_cast<uint16_t*>(at.v) + offset * head_dim;
        uint16_t half[16];
        for (int i = 0; i < head_dim; i += 16) {
            store_f16(half, load(k + i));
            for (int j = 0; j < 16; ++j) keys[(i + j) * kPage + offset] = half[j];
            store_f16(values + i, load(v + i));
        }
        return;
    }
    const Q8Page at(kv, page, head);
    auto* keys = const_cast<int8_t*>(at.k);
    auto* values = const_cast<int8_t*>(at.v) + offset * head_dim;
    for (int b = 0; b < at.n_blocks; ++b) {
        const int begin = b * kBlock, n = head_dim - begin < kBlock ? head_dim - begin : kBlock;
        for (int part = 0; part < 2; ++part) {
            const float* x = part == 0 ? k : v;
            f32x16 top16 = zero();
            for (int i = 0; i < n; i += 16) top16 = max(abs(load(x + begin + i)), top16);
            const float top = max(top16), inverse = top > 0.0f ? 127.0f / top : 0.0f;
            const uint16_t d = float_to_half(top / 127.0f);
            int32_t q[32];
            for (int i = 0; i < n; i += 16) store_i32(q + i, to_i32(mul(load(x + begin + i), set1(inverse))));
            if (part == 0) {
                const_cast<uint16_t*>(at.k_scale)[b * kPage + offset] = d;
                for (int i = 0; i < n; ++i) keys[(begin + i) * kPage + offset] = static_cast<int8_t>(q[i]);
            } else {
                const_cast<uint16_t*>(at.v_scale)[offset * at.n_blocks + b] = d;
                for (int i = 0; i < n; ++i) values[begin + i] = static_cast<int8_t>(q[i]);
            }
        }
    }
}

}  // namespace
}  // namespace outpace
