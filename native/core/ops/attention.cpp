// Attention: rotary tables, heads turned, keys and values written, chunks attended and their parts combined.
#include <algorithm>
#include <cmath>

#include "core/program.h"

namespace outpace {
namespace {

constexpr int kPage = 64, kChunk = 256;
constexpr int kRowsPerUnit = 16;    // rows of one unit of attention in prefill, or of writing keys
constexpr int kUnitsPerThread = 4;  // of attention, at least, if there are rows to part
constexpr int kHeadsPerUnit = 8;    // heads that one unit turns

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Chunks that a row at `position` attends to where attention begins at `first`.
int n_chunks(int position, int first) { return (position - first) / kChunk + 1; }

}  // namespace

int Program::units(const TableOp&) const { return count(Rows::kAll); }

void Program::run_op(const TableOp& op, int begin, int end, int) {
    const RopeTable& table = tables_[static_cast<size_t>(op.table)];
    const size_t pairs = table.frequencies.size();
    for (int row = begin; row < end; ++row) {
        float* out = floats(table.out) + static_cast<size_t>(row) * 2 * pairs;
        for (size_t i = 0; i < pairs; ++i) {
            const double angle = set_of(Rows::kAll).position[static_cast<size_t>(row)] * table.frequencies[i];
            out[i] = static_cast<float>(std::cos(angle));
            out[pairs + i] = static_cast<float>(std::sin(angle));
        }
    }
}

void Program::rope_head(const RopeOp& op, int row, int head) const {
    RopeArgs rope = {nullptr, 0, op.neox};
    if (op.table >= 0) {
        const RopeTable& table = tables_[static_cast<size_t>(op.table)];
        const size_t at = static_cast<size_t>(set_of(op.rows).of_step(row));
        rope.dims = static_cast<int>(2 * table.frequencies.size());
        rope.cos_sin = floats(table.out) + at * static_cast<size_t>(rope.dims);
    }
    const size_t at = static_cast<size_t>(row) * op.stride + static_cast<size_t>(head * op.head_dim);
    kernels_.rope_head(floats(op.x) + at, op.head_dim, rope, op.factor, floats(op.out) + at);
}

int Program::units(const RopeOp& op) const { return count(op.rows) * ceil_div(op.n_heads, kHeadsPerUnit); }

void Program::run_op(const RopeOp& op, int begin, int end, int) {
    const int pieces = ceil_div(op.n_heads, kHeadsPerUnit);
    for (int unit = begin; unit < end; ++unit) {
        const int first = unit % pieces * kHeadsPerUnit, last = std::min(first + kHeadsPerUnit, op.n_heads);
        for (int head = first; head < last; ++head) rope_head(op, unit / pieces, head);
    }
}

// Neighbouring positions of a head's keys share cache lines, so one thread writes a run of rows.
int Program::units(const KVWriteOp& op) const { return op.k.n_heads * ceil_div(count(Rows::kAll), kRowsPerUnit); }

void Program::run_op(const KVWriteOp& op, int begin, int end, int) {
    const KVLayer kv = state_->kv(op.layer);
    const int n_rows = count(Rows::kAll), groups = ceil_div(n_rows, kRowsPerUnit);
    for (int unit = begin; unit < end; ++unit) {
        const int head = unit / groups, first = unit % groups * kRowsPerUnit;
        for (int row = first; row < std::min(first + kRowsPerUnit, n_rows); ++row) write_row(op, kv, row, head);
    }
}

void Program::write_row(const KVWriteOp& op, const KVLayer& kv, int row, int head) const {
    rope_head(op.k, row, head);
    const size_t at = static_cast<size_t>(row);
    const int position = set_of(Rows::kAll).position[at];
    const SegmentView& segment = step_.segments[static_cast<size_t>(segment_of_[at])];
    uint8_t* page = kv.pages + static_cast<size_t>(segment.pages[position / kPage]) * kv.page_bytes;
    const size_t column = static_cast<size_t>(head * kv.head_dim);
    kernels_.kv_write(kv, page, position % kPage, head, floats(op.k.out) + at * op.k.stride + column,
                      floats(op.v) + at * op.v_stride + column);
}

const Program::Geometry& Program::geometry(const AttentionOp& op) const {
    const int n_kv_heads = state_->spec().kv[static_cast<size_t>(op.layer)].n_kv_heads;
    return *std::find_if(geometries_.begin(), geometries_.end(), [&](const Geometry& g) {
        return g.rows == op.rows && g.n_heads == op.n_heads && g.n_kv_heads == n_kv_heads;
    });
}

// Which rows, heads and chunks each unit of attention takes in this step. Never changes a result, only who computes it.
void Program::plan_attention() {
    const int n_segments = static_cast<int>(step_.segments.size());
    for (Geometry& g : geometries_) {
        g.units.clear();
        const RowSet& set = set_of(g.rows);
        int most_chunks = 0;
        for (int s = 0; s < n_segments; ++s)
            if (const int end = set.first[static_cast<size_t>(s) + 1]; end > set.first[static_cast<size_t>(s)])
                most_chunks = std::max(most_chunks, n_chunks(set.position[static_cast<size_t>(end) - 1],
                                                             step_.segments[static_cast<size_t>(s)].first));
        g.split = set.n <= spec_.partial_rows && most_chunks > 1;
        for (int s = 0; s < n_segments; ++s) {
            const int begin = set.first[static_cast<size_t>(s)], end = set.first[static_cast<size_t>(s) + 1];
            if (begin == end) continue;
            const int chunks =
                n_chunks(set.position[static_cast<size_t>(end) - 1], step_.segments[static_cast<size_t>(s)].first);
            const int stretch = g.split ? 1 : chunks;  // chunks of a unit
            int rows = g.split ? end - begin : kRowsPerUnit;
            // Three heads leave one of two threads idle for a third of the time: of few units halves are made.
            const int units = g.n_kv_heads * ceil_div(end - begin, rows) * ceil_div(chunks, stretch);
            if (units * n_segments < kUnitsPerThread * pool_.size()) rows = ceil_div(std::min(rows, end - begin), 2);
            for (int head = 0; head < g.n_kv_heads; ++head)
                for (int c = 0; c < chunks; c += stretch)
                    for (int r = begin; r < end; r += rows)
                        g.units.push_back({s, head, r, std::min(r + rows, end), c, c + stretch});
        }
    }
}

int Program::units(const AttentionOp& op) const { return static_cast<int>(geometry(op).units.size()); }

void Program::run_op(const AttentionOp& op, int begin, int end, int member) {
    const Geometry& g = geometry(op);
    AttentionArgs args = {};
    args.kv = state_->kv(op.layer);
    args.positions = set_of(op.rows).position.data();
    args.q = floats(op.q);
    args.q_stride = op.stride;
    args.n_heads = op.n_heads;
    args.out = floats(op.out);
    args.partial = g.split ? floats(spec_.partial) : nullptr;
    args.partial_chunks = spec_.partial_chunks;
    args.scratch = scratch(member);
    for (int i = begin; i < end; ++i) {
        const AttentionUnit& u = g.units[static_cast<size_t>(i)];
        args.pages = step_.segments[static_cast<size_t>(u.segment)].pages;
        args.first = step_.segments[static_cast<size_t>(u.segment)].first;
        kernels_.attention(args, u.head, u.row_begin, u.row_end, u.chunk_begin, u.chunk_end);
    }
}

int Program::units(const CombineOp& op) const {
    return geometry(op.attention).split ? count(op.attention.rows) * op.attention.n_heads : 0;
}

void Program::run_op(const CombineOp& op, int begin, int end, int) {
    const AttentionOp& a = op.attention;
    const RowSet& set = set_of(a.rows);
    const size_t head_dim = static_cast<size_t>(state_->spec().kv[static_cast<size_t>(a.layer)].head_dim);
    const size_t state = head_dim + 2, n_heads = static_cast<size_t>(a.n_heads);
    for (int unit = begin; unit < end; ++unit) {
        const size_t row = static_cast<size_t>(unit) / n_heads, head = static_cast<size_t>(unit) % n_heads;
        const int32_t segment = segment_of_[static_cast<size_t>(set.of_step(static_cast<int>(row)))];
        const int chunks = n_chunks(set.position[row], step_.segments[static_cast<size_t>(segment)].first);
        float* partial =
            floats(spec_.partial) + (row * n_heads + head) * static_cast<size_t>(spec_.partial_chunks) * state;
        kernels_.attention_combine(partial, chunks, static_cast<int>(head_dim),
                                   floats(a.out) + row * a.stride + head * head_dim);
    }
}

}  // namespace outpace
