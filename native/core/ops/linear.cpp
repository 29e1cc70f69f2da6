// Matrix products, several matrices of one input at a time.
#include <algorithm>

#include "core/program.h"

namespace outpace {

Activations Program::activations(const Codes& codes, size_t first) const {
    const size_t plane = codes.rows * codes.stride, n_blocks = codes.stride / kBlock;
    const auto* q = reinterpret_cast<const int8_t*>(workspace_->data() + codes.q);
    const auto* low_offsets = reinterpret_cast<const Offsets*>(q + 2 * plane);
    const auto* has_low = reinterpret_cast<const uint8_t*>(low_offsets + plane / kBlock);
    const auto* scales = reinterpret_cast<const BlockScale*>(workspace_->data() + codes.scales);
    return {q + first * codes.stride,
            q + plane + first * codes.stride,
            scales + first * n_blocks,
            low_offsets + first * n_blocks,
            has_low + first * n_blocks,
            nullptr,
            codes.stride};
}

int Program::units(const LinearOp& op) const {
    return count(op.rows) ? (op.n_tiles + op.unit_tiles - 1) / op.unit_tiles : 0;
}

void Program::run_op(const LinearOp& op, int begin, int end, int) {
    Activations act = {};
    if (op.codes.q != kNone) {
        act = activations(op.codes);
    } else {
        act.row_stride = op.x_stride;
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
