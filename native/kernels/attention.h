// Causal attention of T query rows over one sequence's paged cache, for one kv head.
//
// Formula: o = sum_p softmax_p(q . k_p) v_p over positions first <= p <= the row's own; q arrives scaled.
// Layout of a page: kv_page.h. Keys lie transposed so that no sum is horizontal.
// Reduction order: the context is cut in chunks of 256 positions from `first` on, a page border. In a chunk scores sum
//   along head_dim in order, the exponentials' sum runs over 16 lanes in order and then as a tree, values sum in order
//   of position. Chunks are merged in order, first to last. None of it depends on how many rows or threads share the
//   work.
// Modes: one unit walks all chunks of its rows, or units take chunks apart and `attention_combine` merges the parts
//   with the same operations in the same order.
#pragma once

#include "kernels/kernels.h"
#include "kernels/kv_page.h"
#include "kernels/simd_u8.h"

namespace outpace {
namespace {

constexpr int kChunk = 256;
#if defined(__AVX512F__)
constexpr int kQueries = 8;  // query rows that share one read of K and V
constexpr int kSums = 16;    // sums that are run at a time: enough of them that none waits for the one before it
#elif defined(__AVX2__)
constexpr int kQueries = 4;
constexpr int kSums = 4;
#else
constexpr int kQueries = 1;
constexpr int kSums = 1;
#endif
// Vectors of 16 positions, and of 16 values, whose sums for N queries are run together.
template <int N>
constexpr int kTogether = N * 4 <= kSums   ? 4
                          : N * 2 <= kSums ? 2
                                           : 1;

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

// Scores of V times 16 positions of a page from `at` on, for N queries.
template <class Page, int N, int V>
OUTPACE_INLINE void score(const Page& page, const Page& next, const float* q, int at, float* scores) {
    f32x16 s[V][N];
    page.template scores<N, V>(q, at, next, s);
    for (int n = 0; n < N; ++n)
        for (int j = 0; j < V; ++j) store(scores + n * kChunk + at + 16 * j, s[j][n]);
}

// Sums of V times 16 values from `i` on over the first n_positions of a chunk, for N queries.
template <class Page, int N, int V>
OUTPACE_INLINE void weigh(const AttentionArgs& a, int head, int begin, int n_positions, const float* scores, int i,
                          const Merged (&out)[N]) {
    f32x16 sums[N][V];
    for (int n = 0; n < N; ++n)
        for (int j = 0; j < V; ++j) sums[n][j] = zero();
    for (int base = 0; base < n_positions; base += kPage) {
        const Page page = page_at<Page>(a, head, begin + base);
        const int end = n_positions - base < kPage ? n_positions - base : kPage;
        for (int at = 0; at < end; ++at) {
            f32x16 v[V];
            for (int j = 0; j < V; ++j) v[j] = page.value(at, i + 16 * j);
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n)
                for (int j = 0; j < V; ++j) sums[n][j] = fma(v[j], set1(scores[n * kChunk + base + at]), sums[n][j]);
        }
    }
    for (int n = 0; n < N; ++n)
        for (int j = 0; j < V; ++j) store(out[n].values() + i + 16 * j, sums[n][j]);
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
        const int end = most - base < kPage ? most - base : kPage;
        const Page next = base + kPage < most ? page_at<Page>(a, head, begin + base + kPage) : page;
        int at = 0;
        for (; at + 16 * kTogether<N> <= end; at += 16 * kTogether<N>)
            score<Page, N, kTogether<N>>(page, next, q, at, scores + base);
        for (; at < end; at += 16) score<Page, N, 1>(page, next, q, at, scores + base);
    }
    for (int n = 0; n < N; ++n) exponentials(scores + n * kChunk, valid[n], out[n]);
    const int head_dim = a.kv.head_dim;
    int i = 0;
    for (; i + 16 * kTogether<N> <= head_dim; i += 16 * kTogether<N>)
        weigh<Page, N, kTogether<N>>(a, head, begin, least, scores, i, out);
    for (; i < head_dim; i += 16) weigh<Page, N, 1>(a, head, begin, least, scores, i, out);
    // What only the later rows see, after what all of them see: still in order of position for each row.
    for (int n = 0; n < N; ++n)
        for (int p = least; p < valid[n]; ++p) {
            const Page page = page_at<Page>(a, head, begin + p);
            for (i = 0; i < head_dim; i += 16)
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
            const int seen = a.positions[row] + 1 - (a.first + chunk * kChunk);
            valid[n] = seen < kChunk ? seen : kChunk;
            any |= seen > 0;
            all &= seen > 0;
            out[n] = {a.partial ? a.partial + ((at * a.n_heads + h) * a.partial_chunks + chunk) * state
                                : (chunk == chunk_begin ? running : parts) + n * state};
        }
        if (!any) break;
        if (all) {
            attend_chunk<Page, N>(a, head, a.first + chunk * kChunk, turned, valid, scores, out);
        } else {
            for (int n = 0; n < N; ++n) {
                if (valid[n] <= 0) continue;
                for (int i = 0; i < head_dim; ++i) one[i] = q[n][i];
                const int one_valid[1] = {valid[n]};
                const Merged one_out[1] = {out[n]};
                attend_chunk<Page, 1>(a, head, a.first + chunk * kChunk, one, one_valid, scores, one_out);
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
    with_page(a.kv, [&](auto kind) {
        attend_rows<typename decltype(kind)::Page>(a, kv_head, row_begin, row_end, chunk_begin, chunk_end);
    });
}

// partial: [n_chunks][head_dim + 2] of one row and head; the first is overwritten.
void attention_combine(float* partial, int n_chunks, int head_dim, float* out) {
    const int state = head_dim + 2;
    for (int chunk = 1; chunk < n_chunks; ++chunk) merge({partial}, {partial + chunk * state}, head_dim);
    finish({partial}, head_dim, out);
}

void kv_write(const KVLayer& kv, uint8_t* page, int offset, int head, const float* k, const float* v) {
    with_page(kv, [&](auto kind) { typename decltype(kind)::Page(kv, page, head).put(offset, k, v); });
}

}  // namespace
}  // namespace outpace
