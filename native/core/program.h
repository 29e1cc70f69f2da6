// A plan made flat: instructions over one workspace, run by a team of threads with a barrier between them.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/logits.h"
#include "core/memory.h"
#include "core/pool.h"
#include "core/weight.h"
#include "kernels/kernels.h"

namespace outpace {

// Byte offsets into the workspace; every buffer holds rows `stride` floats apart.
using Offset = int64_t;
constexpr Offset kNone = -1;

enum class Rows : int { kAll = 0, kWanted = 1 };

// Codes of a value, for as many rows as there may be: q, low, low_offsets and has_low of kernels.h, one after another.
size_t codes_bytes(size_t rows, size_t stride);

struct EmbedOp {
    const Weight* table;
    Offset out;
    size_t stride;
};

struct GatherOp {
    Offset x, out;
    size_t stride;
};

// Row-wise verbs, optionally followed by quantising the result for the linears that read it.
enum class RowVerb : int { kCopy, kNorm, kSwiglu, kSilu, kAdd, kMul, kScale };
struct RowOp {
    RowVerb verb;
    Rows rows;
    Offset x, y;                // y: second operand, or kNone
    size_t stride;              // of x, y and out
    int n;                      // values of a row
    int groups;                 // norm: how many equal parts of a row are normalised alone
    float factor;               // norm: eps; scale: factor
    std::vector<float> weight;  // norm
    Offset out;                 // float result, or kNone
    Offset q, scales;           // codes of the result, or kNone
};

struct LinearPart {
    const Weight* weight;
    Offset out;
    size_t out_stride;
    Offset residual;          // or kNone
    std::vector<float> bias;  // padded to whole tiles, or empty
};
struct LinearOp {
    Rows rows;
    Offset x, q, scales;  // float input, or codes
    size_t in_stride;
    std::vector<LinearPart> parts;
    int n_tiles;
    int unit_tiles = 1;  // tiles that are never parted; those of a chunk of the sampler where peaks are kept
};

struct RopeTable {
    std::vector<double> frequencies;  // one for each pair
    Offset out;                       // [T][2 * pairs]
};
struct RopeOp {
    Offset x, out;
    size_t stride;
    int n_heads, head_dim, neox, table;  // table: index of its RopeTable, or -1
    float factor;
};
// Turns q and k, writes k and v to the cache: what attention needs done for each row.
struct KVWriteOp {
    RopeOp q, k;
    Offset v;
    size_t kv_stride;
    int layer;
};
struct AttentionOp {
    Offset q, out;
    size_t stride;
    int n_heads, layer;
};
struct CombineOp {
    Offset out;
    size_t stride;
    int n_heads, head_dim;
};

struct TableOp {
    int table;
};

using Op = std::variant<EmbedOp, GatherOp, RowOp, LinearOp, TableOp, RopeOp, KVWriteOp, AttentionOp, CombineOp>;

struct KVShape {
    int n_kv_heads, head_dim;
};

struct ProgramSpec {
    int max_rows, max_wanted, n_pages;
    int kv_type;  // kF16 or kQ8_0
    std::vector<KVShape> kv;
    size_t workspace_bytes;
    Offset partial;    // of the split attention's partial results
    int partial_rows;  // steps of at most this many rows may split
    int partial_chunks;
    Offset scratch;  // one stretch for each thread
    size_t scratch_bytes;
};

size_t kv_page_bytes(const KVShape& shape, int kv_type);

class Program {
  public:
    Program(std::shared_ptr<WeightArena> weights, ProgramSpec spec);

    void add(Op op);
    int add_rope_table(RopeTable table);

    // Runs one step. tokens [T], segments in order covering all rows, wanted rows [W].
    // Throws std::invalid_argument when an index is out of range; nothing is staged then.
    void run(std::span<const int32_t> tokens, std::span<const SegmentView> segments, std::span<const size_t> n_pages,
             std::span<const int32_t> wanted);

    void copy_page(int source, int target);

    // From now on notes the largest logits as they are made, while they are in the cache of the thread that made them.
    // Returns false and does nothing unless `at` is the result of a linear verb of one matrix for the wanted rows.
    bool keep_peaks(Offset at);
    // Of the last run. Throws std::logic_error before keep_peaks.
    Logits logits() const;

    float* floats(Offset at) { return reinterpret_cast<float*>(workspace_.data() + at); }
    const ProgramSpec& spec() const { return spec_; }
    double last_run_s() const { return last_run_s_; }
    double run_s() const { return run_s_; }
    // Seconds of each instruction over all runs since profiling was switched on (thread 0's clock, barriers included).
    void set_profile(bool on);
    std::vector<std::pair<std::string, double>> profile() const;

  private:
    struct AttentionUnit {
        int segment, head, row_begin, row_end, chunk_begin, chunk_end;
    };
    struct Geometry {
        int n_heads, n_kv_heads, head_dim;
        std::vector<AttentionUnit> units;
    };

    void check(std::span<const SegmentView> segments, std::span<const size_t> n_pages, std::span<const int32_t> tokens,
               std::span<const int32_t> wanted) const;
    void plan_attention();
    int n_units(const Op& op) const;
    void execute(const Op& op, int begin, int end, int member);
    void work(int member);
    KVLayer layer(int index) const;
    size_t capacity(Rows rows) const {
        return static_cast<size_t>(rows == Rows::kAll ? spec_.max_rows : spec_.max_wanted);
    }
    void note_peaks(const LinearOp& op, int tile_begin, int tile_end);
    int count(Rows rows) const { return rows == Rows::kAll ? T_ : W_; }
    int claim(std::atomic<int>& next, int n_units, int& begin) const;

    void run_op(const EmbedOp& op, int begin, int end, int member);
    void run_op(const GatherOp& op, int begin, int end, int member);
    void run_op(const RowOp& op, int begin, int end, int member);
    void run_op(const LinearOp& op, int begin, int end, int member);
    void run_op(const TableOp& op, int begin, int end, int member);
    void run_op(const RopeOp& op, int begin, int end, int member);
    void run_op(const KVWriteOp& op, int begin, int end, int member);
    void run_op(const AttentionOp& op, int begin, int end, int member);
    void run_op(const CombineOp& op, int begin, int end, int member);
    CodeRow code_row(const RowOp& op, size_t row, size_t column);
    void rope_row(const RopeOp& op, int row, int head_begin, int head_end);
    const Geometry& geometry(int n_heads, int layer) const;

    std::shared_ptr<WeightArena> weights_;
    const Kernels& kernels_;
    Pool& pool_;
    ProgramSpec spec_;
    Memory workspace_;
    std::vector<std::unique_ptr<Memory>> kv_;
    std::vector<Op> ops_;
    std::vector<RopeTable> tables_;
    size_t logits_ = SIZE_MAX;  // the instruction that makes them, where peaks are kept
    std::vector<float> peaks_;
    int n_tokens_ = 0x7fffffff;  // the embedding table's

    struct alignas(64) Counter {
        std::atomic<int> next{0};
    };
    std::unique_ptr<Counter[]> counters_;
    size_t n_counters_ = 0;

    // The step being run.
    int T_ = 0, W_ = 0;
    std::span<const int32_t> tokens_, wanted_;
    std::span<const SegmentView> segments_;
    std::vector<int32_t> position_, segment_of_;
    mutable std::vector<Geometry> geometries_;
    bool split_ = false;
    double last_run_s_ = 0, run_s_ = 0;
    bool profiling_ = false;
    std::vector<double> seconds_;
    std::function<void(int)> job_;
};

}  // namespace outpace
