// The table of kernels that one tier exports. Plain C types only: nothing here may carry inline code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sampling.h"

// Names that carry their tier: OUTPACE_JOIN(kernels_, OUTPACE_TIER).
#define OUTPACE_JOIN2(a, b) a##b
#define OUTPACE_JOIN(a, b) OUTPACE_JOIN2(a, b)

namespace outpace {

// Output rows in a tile of packed weights, and values that share one activation scale.
constexpr int kTileRows = 16;
constexpr int kBlock = 32;

// Weight types with kernels of their own; the numbers are GGML's.
enum WeightType : int {
    kF32 = 0,
    kF16 = 1,
    kQ4_0 = 2,
    kQ4_1 = 3,
    kQ5_0 = 6,
    kQ5_1 = 7,
    kQ8_0 = 8,
    kQ4_K = 12,
    kQ5_K = 13,
    kQ6_K = 14,
    kBF16 = 30,
};

// The offset of unsigned weights, as the start of an integer sum: of a block's codes,
struct Offsets {
    int32_t all[3];  // -8, -16 and -128 times the sum of the 32
    int32_t first;   // -32 * the sum of the first 16, for the six-bit type, whose halves have scales of their own
    int32_t rest;    // -32 * the sum of the other 16
};

// The bits of the float 1.5 * 2^23. An integer sum below 2^22 either way that starts there is the bits of that float
// plus the sum: it needs no conversion.
constexpr int32_t kFloatBits = 0x4b400000;
constexpr float kFloatStart = 12582912.0f;

// What one block of 32 activations needs beside its codes. A code is q + low / 256; `low` is 0 but in the few blocks
// whose scale is far above their neighbours', where eight bits would round most (docs/decisions/0007).
struct BlockScale {
    float d;    // value = d * code
    float ds;   // d * sum(code)
    Offsets q;  // each of them on top of kFloatBits
};

// One row of codes as a kernel writes it.
struct CodeRow {
    int8_t *q, *low;
    BlockScale* s;
    Offsets* low_offsets;
    uint8_t* has_low;  // of a block; the next block's is kGroupRows bytes on
};

// Rows of activations: codes with scales for quantised weights, float for the others.
constexpr int kGroupRows = 8;
struct Activations {
    const int8_t *q, *low;       // [T][row_stride]
    const BlockScale* s;         // [T][row_stride / 32]
    const Offsets* low_offsets;  // [T][row_stride / 32]
    const uint8_t* has_low;      // [T / 8][row_stride / 32][8 rows]
    const float* x;              // [T][row_stride]
    size_t row_stride;           // values from one row to the next; a multiple of 32
};

// y[t, r] = sum_k w[r, k] x[t, k] (+ bias[r]) (+ residual[t, r]) for the rows of tiles [tile_begin, tile_end).
struct LinearArgs {
    const uint8_t* tiles;
    size_t tile_bytes;
    int n_rows, n_cols;
    Activations act;
    int T;
    float* out;             // [T][out_stride]
    size_t out_stride;      // at least n_rows rounded up to 16
    const float* residual;  // [T][out_stride], or null; may be `out`
    const float* bias;      // [n_rows rounded up to 16], or null
};

// One layer of the KV cache: pages of 64 positions; see kv_page.h for the layout.
struct KVLayer {
    uint8_t* pages;
    size_t page_bytes;
    int n_kv_heads, head_dim;
    int kv_type;  // kF16, kQ8_0 or kQ4_0
};

// The rows of one sequence in a step.
struct SegmentView {
    int start;  // position of the first row
    int n_rows;
    const int32_t* pages;
    int first = 0;                             // attention begins at this position, a multiple of 256
    int slot = 0, n_draft = 0, n_pending = 0;  // recurrent state; see outpace.graph.step
};

// Queries of one kv head against one sequence's cache.
struct AttentionArgs {
    KVLayer kv;
    const int32_t* pages;      // of the sequence
    int first;                 // position at which attention begins, a page border
    const int32_t* positions;  // of each query row, ascending
    const float* q;            // [rows][q_stride]: H heads of head_dim, already turned and scaled
    size_t q_stride;
    int n_heads;
    float* out;          // [rows][q_stride]
    float* partial;      // split mode: [row][head][chunk][head_dim + 2], else null
    int partial_chunks;  // chunks a row has room for
    float* scratch;      // 8 * (256 + 3 * head_dim + 4) + head_dim floats
};

struct RopeArgs {
    const float* cos_sin;  // [T][dims]: cos of each pair, then sin of each pair
    int dims;
    int neox;
};

// Rows of a gated-delta update, for one value head. q is null where nothing is read.
struct DeltaRows {
    const float *q, *k, *v;     // [n][stride]
    const float *decay, *beta;  // [n][stride]
    size_t q_stride, k_stride, v_stride, decay_stride, beta_stride;
    float* out;
    size_t out_stride;
    int n;
};

// A stretch of a value head's columns; see recurrent.h.
constexpr int kDeltaColumns = 64;
struct DeltaArgs {
    float* memory;   // [key_dim][columns, rounded up to 16]
    float* scratch;  // as large
    int key_dim, columns;
    DeltaRows pending;  // accepted since the memory was written
    DeltaRows rows;
    int n_known;  // the first so many of `rows` enter the memory
};

struct Kernels {
    const char* tier;

    // Bytes of one tile of 16 rows by n_cols; 0 when the type has no kernel or n_cols does not suit it.
    size_t (*tile_bytes)(int type, int n_cols);
    // Packs 16 rows of GGUF blocks, row_bytes apart (n_rows of them real, the rest zero), into one tile.
    void (*pack_tile)(int type, const uint8_t* rows, size_t row_bytes, int n_rows, int n_cols, uint8_t* tile);
    // One row of a packed tile, from a row as it lies in a file; its neighbours stay as they are.
    void (*put_row)(int type, const uint8_t* bytes, int row, int n_cols, uint8_t* tile);
    // Unpacks one row of a tile to floats.
    void (*unpack_row)(int type, const uint8_t* tile, int row, int n_cols, float* out);
    void (*linear)(int type, const LinearArgs& args, int tile_begin, int tile_end);

    void (*quantize)(const float* x, int n, CodeRow out);
    // out = x / rms(x) * w
    void (*rms_norm)(const float* x, const float* w, int n, float eps, float* out);
    void (*swiglu)(const float* gate, const float* up, int n, float* out);
    void (*silu)(const float* x, int n, float* out);
    void (*add)(const float* x, const float* y, int n, float* out);
    void (*mul)(const float* x, const float* y, int n, float* out);
    void (*scale)(const float* x, float factor, int n, float* out);
    void (*add_scaled)(const float* x, const float* y, float factor, int n, float* out);
    // out = factor * x / sqrt(sum of squares + eps)
    void (*l2_norm)(const float* x, int n, float eps, float factor, float* out);
    void (*sigmoid)(const float* x, int n, float* out);
    // out = x * sigmoid(gate)
    void (*gated)(const float* x, const float* gate, int n, float* out);
    // out = exp(rate * softplus(x + bias))
    void (*decay)(const float* x, const float* rate, const float* bias, int n, float* out);
    // One row of a convolution over time, for n channels: rows and weight of each of `length` steps.
    void (*conv)(const float* const* rows, const float* weight, size_t weight_stride, int length, int n, bool with_silu,
                 float* out);
    void (*gated_delta)(const DeltaArgs& args);
    // The n_used largest of softmax(x), and their shares; `shares` is scratch for n floats.
    void (*route)(const float* x, int n, int n_used, bool renormalise, float* shares, int32_t* index, float* share);
    // Turns one head by its row's angles and multiplies it by factor; rope.cos_sin is the row's own, or null.
    void (*rope_head)(const float* x, int head_dim, RopeArgs rope, float factor, float* out);

    void (*kv_write)(const KVLayer& kv, uint8_t* page, int offset, int head, const float* k, const float* v);
    // Chunks [chunk_begin, chunk_end) of some rows of one sequence, for a kv head; see attention.h.
    void (*attention)(const AttentionArgs& args, int kv_head, int row_begin, int row_end, int chunk_begin,
                      int chunk_end);
    // Combines one row's partial results, chunk by chunk in order.
    void (*attention_combine)(float* partial, int n_chunks, int head_dim, float* out);

    // Sum of n bytes read once, for measuring read bandwidth.
    uint64_t (*read_bytes)(const uint8_t* p, size_t n);
    // Runs n rounds of 64 integer products of 64 bytes; returns the multiply-adds done.
    uint64_t (*integer_rounds)(uint64_t n, int32_t* sink);

    SampleKernels sample;
};

}  // namespace outpace
