// Matrix products, several matrices of one input at a time.
#include <algorithm>

#include "core/program.h"

namespace outpace {

Activations Program::activations(Rows rows, Offset q, Offset scales, size_t stride) const {
    const size_t plane = capacity(rows) * stride;
    Activations act = {};
    act.row_stride = stride;
    act.q = reinterpret_cast<const int8_t*>(workspace_->data() + q);
    act.low = act.q + plane;
    act.low_offsets = reinterpret_cast<const Offsets*>(act.q + 2 * plane);
    act.has_low = reinterpret_cast<const uint8_t*>(act.low_offsets + plane / kBlock);
    act.s = reinterpret_cast<const BlockScale*>(workspace_->data() + scales);
    return act;
}

int Program::units(const LinearOp& op) const {
    return count(op.rows) ? (op.n_tiles + op.unit_tiles - 1) / op.unit_tiles : 0;
}

void Program::run_op(const LinearOp& op, int begin, int end, int) {
    Activations act = {};
    if (op.q != kNone) {
        act = activations(op.rows, op.q, op.scales, op.in_stride);
    } else {
        act.row_stride = op.in_stride;
        act.x = floats(op.x);
    }
    begin *= op.unit_tiles;
    end = std::min(end * op.unit_tiles, op.n_tiles);
    int first = 0;
    for (const LinearPart& part : op.parts) {
        const int tiles = part.weight->n_tiles();
        const int from = std::max(begin - first, 0), to = std::min(end - first, tiles);
        first += tiles;
        if (from >= to) continue;
        const LinearArgs args = {part.weight->tiles,
                                 part.weight->tile_bytes,
                                 part.weight->n_rows,
                                 part.weight->n_cols,
                                 act,
                                 count(op.rows),
                                 floats(part.out),
                                 part.out_stride,
                                 part.residual == kNone ? nullptr : floats(part.residual),
                                 part.bias.empty() ? nullptr : part.bias.data()};
        kernels_.linear(part.weight->type, args, from, to);
    }
    if (op.unit_tiles > 1) note_peaks(op, begin, end);
}

}  // namespace outpace
