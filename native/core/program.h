// A plan made flat: instructions over one workspace, run by a team of threads that wait for each other where one reads
// what another writes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/ahead.h"
#include "core/logits.h"
#include "core/memory.h"
#include "core/op.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/weight.h"
#include "kernels/kernels.h"

namespace outpace {

// Codes of a value, for as many rows as there may be: q, low, low_offsets and has_low of kernels.h, one after another.
size_t codes_bytes(size_t rows, size_t stride);
// The scales that go with them.
size_t scales_bytes(size_t rows, size_t stride);

struct ProgramSpec {
    int max_rows, max_exported, max_wanted;
    Offset partial;    // of the split attention's partial results
    int partial_rows;  // attention over at most this many query rows may split
    int partial_chunks;
    Offset scratch;  // one stretch for each thread
    size_t scratch_bytes;
};

// One step: integers in, and for a draft program the hidden state of the position before each row's.
struct StepView {
    std::span<const int32_t> tokens;            // [T]
    std::span<const SegmentView> segments;      // in order, covering all rows
    std::span<const size_t> n_pages;            // in each segment's page table
    std::span<const int32_t> wanted, exported;  // ascending [W], [X]; none exported stands for the wanted ones
    const float* hidden = nullptr;              // [T][hidden_stride]
    size_t hidden_rows = 0, hidden_width = 0, hidden_stride = 0;
};

class Program {
  public:
    // The workspace may be shared with programs that do not run between this one's run and the last use of its results.
    Program(std::shared_ptr<WeightArena> weights, std::shared_ptr<State> state, std::shared_ptr<Memory> workspace,
            ProgramSpec spec);

    // Adds an instruction, which waits for all before it.
    void add(Op op);
    // The next instruction to be added need not wait: it touches nothing that those since the last wait write, and
    // writes nothing that they read.
    void beside() { is_beside_ = true; }
    int add_rope_table(RopeTable table);

    // Runs one step. Throws std::invalid_argument when an index is out of range; nothing is staged then.
    void run(const StepView& step);

    // From now on notes the largest logits as they are made, while they are in the cache of the thread that made them.
    // Returns false and does nothing unless `at` is the result of a linear verb of one matrix for the wanted rows.
    bool keep_peaks(Offset at);
    // Of the last run. Throws std::logic_error before keep_peaks.
    Logits logits() const;

    float* floats(Offset at) const { return reinterpret_cast<float*>(workspace_->data() + at); }
    size_t workspace_bytes() const { return workspace_->size(); }
    double last_run_s() const { return last_run_s_; }
    double run_s() const { return run_s_; }
    // Seconds of each instruction over all runs since profiling was switched on (thread 0's clock). While profiling,
    // every instruction waits for the one before it.
    void set_profile(bool on);
    std::vector<std::pair<std::string, double>> profile() const;

  private:
    // Some rows of a step.
    struct RowSet {
        int n = 0;
        std::span<const int32_t> index;  // which rows of the step; none for all
        std::vector<int32_t> position;   // of each
        std::vector<int32_t> first;      // where each segment's begin, and the end [segments + 1]

        int of_step(int row) const { return index.data() ? index[static_cast<size_t>(row)] : row; }
    };
    struct AttentionUnit {
        int segment, head, row_begin, row_end, chunk_begin, chunk_end;
    };
    struct Geometry {
        Rows rows;
        int n_heads, n_kv_heads;
        bool split = false;
        std::vector<AttentionUnit> units;
    };
    struct Instruction {
        Op op;
        bool waits;
    };

    void check(const StepView& step) const;
    void set_rows(const StepView& step);
    void plan_attention();
    int n_units(const Op& op) const;
    void work(int member);
    int grain(const Op& op) const;
    std::pair<int, int> share(int n_units, int member) const;
    void look_ahead(size_t instruction, int member, Ahead& ahead) const;
    bool claim(size_t op, int n_units, int& owner, int& begin, int& end) const;

    size_t capacity(Rows rows) const {
        const int most[kRowKinds] = {spec_.max_rows, spec_.max_exported, spec_.max_wanted};
        return static_cast<size_t>(most[static_cast<int>(rows)]);
    }
    const RowSet& set_of(Rows rows) const { return rows_[static_cast<int>(rows)]; }
    int count(Rows rows) const { return set_of(rows).n; }
    float* scratch(int member) const {
        return floats(spec_.scratch + static_cast<Offset>(static_cast<size_t>(member) * spec_.scratch_bytes));
    }

    // One pair for each instruction, in ops/: into how many units a step's work is cut, and the work of some.
    int units(const EmbedOp& op) const;
    int units(const HiddenOp& op) const;
    int units(const GatherOp& op) const;
    int units(const RowOp& op) const;
    int units(const LinearOp& op) const;
    int units(const TableOp& op) const;
    int units(const RopeOp& op) const;
    int units(const KVWriteOp& op) const;
    int units(const AttentionOp& op) const;
    int units(const CombineOp& op) const;
    int units(const ConvOp& op) const;
    int units(const DeltaOp& op) const;
    int units(const StageOp& op) const;
    int units(const ExpertsOp& op) const;
    void run_op(const EmbedOp& op, int begin, int end, int member);
    void run_op(const HiddenOp& op, int begin, int end, int member);
    void run_op(const GatherOp& op, int begin, int end, int member);
    void run_op(const RowOp& op, int begin, int end, int member);
    void run_op(const LinearOp& op, int begin, int end, int member);
    void run_op(const TableOp& op, int begin, int end, int member);
    void run_op(const RopeOp& op, int begin, int end, int member);
    void run_op(const KVWriteOp& op, int begin, int end, int member);
    void run_op(const AttentionOp& op, int begin, int end, int member);
    void run_op(const CombineOp& op, int begin, int end, int member);
    void run_op(const ConvOp& op, int begin, int end, int member);
    void run_op(const DeltaOp& op, int begin, int end, int member);
    void run_op(const StageOp& op, int begin, int end, int member);
    void run_op(const ExpertsOp& op, int begin, int end, int member);

    void choose(Mixture& m, int row, int member) const;
    void sort(Mixture& m) const;
    void collect(const Mixture& m, int slot) const;
    void multiply(const Mixture& m, Stage stage, int begin, int end) const;
    void join(const Mixture& m, int slot, int member) const;
    void add_up(const Mixture& m, int row) const;
    void apply(const RowOp& op, const float* x, const float* y, int first, int n, float* out) const;
    CodeRow code_row(const Codes& codes, size_t row, size_t column) const;
    // The rows from `first` on, a multiple of kGroupRows.
    Activations activations(const Codes& codes, size_t first = 0) const;
    void note_peaks(const LinearOp& op, int tile_begin, int tile_end);
    void rope_head(const RopeOp& op, int row, int head) const;
    void write_row(const KVWriteOp& op, const KVLayer& kv, int row, int head) const;
    const Geometry& geometry(const AttentionOp& op) const;

    std::shared_ptr<WeightArena> weights_;
    std::shared_ptr<State> state_;
    const Kernels& kernels_;
    Pool& pool_;
    std::shared_ptr<Memory> workspace_;
    ProgramSpec spec_;
    std::vector<Instruction> ops_;
    bool is_beside_ = false;
    std::vector<RopeTable> tables_;
    size_t logits_ = SIZE_MAX;  // the instruction that makes them, where peaks are kept
    std::vector<float> peaks_;
    int n_tokens_ = 0x7fffffff;  // the embedding table's
    int hidden_width_ = 0;       // of the hidden states that a step must have
    bool exports_ = false;       // whether some value has the exported rows

    // How many of a member's share of an instruction's units are taken.
    struct alignas(64) Share {
        std::atomic<int> taken{0};
    };
    std::unique_ptr<Share[]> shares_;  // [instructions][members]
    size_t n_shares_ = 0;

    // The step being run.
    StepView step_;
    RowSet rows_[kRowKinds];
    std::vector<int32_t> wanted_in_exported_, segment_of_;
    std::vector<Geometry> geometries_;
    double last_run_s_ = 0, run_s_ = 0;
    bool profiling_ = false;
    std::vector<double> seconds_;
    std::function<void(int)> job_;
};

}  // namespace outpace
