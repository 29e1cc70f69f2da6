// A mixture of experts, stage by stage. No expert is copied: each multiplies the rows that chose it, side by side.
#include <algorithm>
#include <cstring>

#include "core/program.h"

namespace outpace {
namespace {

size_t at(const Operand& place, int row) { return static_cast<size_t>(row) * place.stride; }

// Tiles of the matrices that a stage multiplies an expert's rows by.
int tiles(const Mixture& m, Stage stage) {
    return stage == Stage::kRaise ? 2 * m.gate[0]->n_tiles() : m.down[0]->n_tiles();
}

}  // namespace

// Known before the rows have chosen, so where few experts are used some units are empty.
int Program::units(const ExpertsOp& op) const {
    const Mixture& m = *op.mixture;
    const int n_rows = count(m.rows), n_parts = std::min(n_rows * m.n_used, m.n_experts());
    if (n_rows == 0) return 0;
    switch (op.stage) {
        case Stage::kChoose:
        case Stage::kAdd:
            return n_rows;
        case Stage::kSort:
            return 1;
        case Stage::kCollect:
        case Stage::kJoin:
            return n_rows * m.n_used + (kGroupRows - 1) * n_parts;
        case Stage::kRaise:
        case Stage::kLower:
            return n_parts * tiles(m, op.stage);
    }
    return 0;
}

void Program::run_op(const ExpertsOp& op, int begin, int end, int member) {
    Mixture& m = *op.mixture;
    const auto each = [&](auto&& work) {
        for (int i = begin; i < end; ++i) work(i);
    };
    switch (op.stage) {
        case Stage::kChoose:
            return each([&](int row) { choose(m, row, member); });
        case Stage::kSort:
            return sort(m);
        case Stage::kCollect:
            end = std::min(end, static_cast<int>(m.row.size()));
            return each([&](int slot) { collect(m, slot); });
        case Stage::kRaise:
        case Stage::kLower:
            return multiply(m, op.stage, begin, end);
        case Stage::kJoin:
            end = std::min(end, static_cast<int>(m.row.size()));
            return each([&](int slot) { join(m, slot, member); });
        case Stage::kAdd:
            return each([&](int row) { add_up(m, row); });
    }
}

// Tiles [begin, end) of a stage's matrices, those of all experts in use one after another.
void Program::multiply(const Mixture& m, Stage stage, int begin, int end) const {
    const bool is_up = stage == Stage::kRaise;
    const int n_tiles = tiles(m, stage);
    const Operand& floats_in = is_up ? m.slot_x : m.gated;
    end = std::min(end, static_cast<int>(m.parts.size()) * n_tiles);
    while (begin < end) {
        const Mixture::Part& part = m.parts[static_cast<size_t>(begin / n_tiles)];
        const size_t expert = static_cast<size_t>(part.expert), first = static_cast<size_t>(part.first);
        const Weight* weight = is_up ? m.gate[expert] : m.down[expert];
        const Operand* out = is_up ? &m.gated : &m.out_slots;
        int from = begin % n_tiles;
        if (from >= weight->n_tiles()) {
            from -= weight->n_tiles();
            weight = m.up[expert];
            out = &m.lifted;
        }
        const int to = std::min(from + end - begin, weight->n_tiles());
        const Codes& codes = is_up ? m.slot_codes : m.hidden_codes;
        Activations x = {};
        if (codes.q != kNone) {
            x = activations(codes, first);
        } else {
            x.x = floats(floats_in.at) + first * floats_in.stride;
            x.row_stride = floats_in.stride;
        }
        const LinearArgs args = {weight->tiles,
                                 weight->tile_bytes,
                                 weight->n_rows,
                                 weight->n_cols,
                                 x,
                                 part.n,
                                 floats(out->at) + first * out->stride,
                                 out->stride,
                                 nullptr,
                                 nullptr};
        kernels_.linear(weight->type, args, from, to);
        begin += to - from;
    }
}

void Program::choose(Mixture& m, int row, int member) const {
    const size_t first = static_cast<size_t>(row) * static_cast<size_t>(m.n_used);
    kernels_.route(floats(m.router.at) + at(m.router, row), m.n_experts(), m.n_used, m.renormalise, scratch(member),
                   m.chosen.data() + first, m.share.data() + first);
}

// Slots expert by expert, for each its rows in order.
void Program::sort(Mixture& m) const {
    const size_t n = static_cast<size_t>(count(m.rows)) * static_cast<size_t>(m.n_used);
    m.next.assign(m.gate.size(), 0);
    for (size_t i = 0; i < n; ++i) ++m.next[static_cast<size_t>(m.chosen[i])];
    m.parts.clear();
    int end = 0;
    for (int expert = 0; expert < m.n_experts(); ++expert) {
        int32_t& next = m.next[static_cast<size_t>(expert)];
        if (next == 0) continue;
        m.parts.push_back({expert, end, next});
        end += (next + kGroupRows - 1) / kGroupRows * kGroupRows;
        next = m.parts.back().first;
    }
    m.row.assign(static_cast<size_t>(end), -1);
    for (size_t i = 0; i < n; ++i) {
        m.slot[i] = m.next[static_cast<size_t>(m.chosen[i])]++;
        m.row[static_cast<size_t>(m.slot[i])] = static_cast<int32_t>(i / static_cast<size_t>(m.n_used));
    }
}

void Program::collect(const Mixture& m, int slot) const {
    const int row = m.row[static_cast<size_t>(slot)];
    if (row < 0) return;
    if (m.slot_codes.q == kNone) {
        std::memcpy(floats(m.slot_x.at) + at(m.slot_x, slot), floats(m.x.at) + at(m.x, row),
                    static_cast<size_t>(m.d_model) * sizeof(float));
        return;
    }
    const CodeRow from = code_row(m.codes, static_cast<size_t>(row), 0);
    const CodeRow to = code_row(m.slot_codes, static_cast<size_t>(slot), 0);
    const size_t n = static_cast<size_t>(m.d_model), n_blocks = n / kBlock;
    std::memcpy(to.q, from.q, n);
    std::memcpy(to.low, from.low, n);
    std::memcpy(to.s, from.s, n_blocks * sizeof(BlockScale));
    std::memcpy(to.low_offsets, from.low_offsets, n_blocks * sizeof(Offsets));
    for (size_t b = 0; b < n_blocks; ++b) to.has_low[b * kGroupRows] = from.has_low[b * kGroupRows];
}

void Program::join(const Mixture& m, int slot, int member) const {
    if (m.row[static_cast<size_t>(slot)] < 0) return;
    float* gate = floats(m.gated.at) + at(m.gated, slot);
    const bool is_quantised = m.hidden_codes.q != kNone;
    float* out = is_quantised ? scratch(member) : gate;
    kernels_.swiglu(gate, floats(m.lifted.at) + at(m.lifted, slot), m.d_ff, out);
    if (is_quantised) kernels_.quantize(out, m.d_ff, code_row(m.hidden_codes, static_cast<size_t>(slot), 0));
}

void Program::add_up(const Mixture& m, int row) const {
    const size_t first = static_cast<size_t>(row) * static_cast<size_t>(m.n_used);
    float* out = floats(m.out.at) + at(m.out, row);
    for (size_t i = first; i < first + static_cast<size_t>(m.n_used); ++i) {
        const float* y = floats(m.out_slots.at) + at(m.out_slots, m.slot[i]);
        if (i == first)
            kernels_.scale(y, m.share[i], m.d_model, out);
        else
            kernels_.add_scaled(out, y, m.share[i], m.d_model, out);
    }
}

}  // namespace outpace
