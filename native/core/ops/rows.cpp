// Instructions that work on rows by themselves: look-ups, picks and row-wise verbs.
#include <algorithm>
#include <cstring>

#include "core/program.h"

namespace outpace {
namespace {

constexpr int kColumnPiece = 512;  // values of a row that one unit of an element-wise verb takes

// Into how many pieces a row is cut that several threads may take.
int pieces(const RowOp& op) {
    const bool is_whole = op.verb == RowVerb::kNorm || op.verb == RowVerb::kL2Norm || op.verb == RowVerb::kNormSwiglu;
    if (is_whole || op.groups > 1) return 1;
    return (op.n + kColumnPiece - 1) / kColumnPiece;
}

}  // namespace

int Program::units(const EmbedOp&) const { return count(Rows::kAll); }

void Program::run_op(const EmbedOp& op, int begin, int end, int) {
    const Weight& table = *op.table;
    for (int row = begin; row < end; ++row) {
        const int token = step_.tokens[static_cast<size_t>(row)];
        kernels_.unpack_row(table.type, table.tiles + static_cast<size_t>(token / kTileRows) * table.tile_bytes,
                            token % kTileRows, table.n_cols, floats(op.out) + static_cast<size_t>(row) * op.stride);
    }
}

int Program::units(const HiddenOp&) const { return count(Rows::kAll); }

void Program::run_op(const HiddenOp& op, int begin, int end, int) {
    for (int row = begin; row < end; ++row)
        std::memcpy(floats(op.out) + static_cast<size_t>(row) * op.stride,
                    step_.hidden + static_cast<size_t>(row) * step_.hidden_stride,
                    static_cast<size_t>(op.width) * sizeof(float));
}

int Program::units(const GatherOp& op) const { return count(op.rows); }

void Program::run_op(const GatherOp& op, int begin, int end, int) {
    for (int i = begin; i < end; ++i) {
        const int row =
            op.from == Rows::kAll ? set_of(op.rows).of_step(i) : wanted_in_exported_[static_cast<size_t>(i)];
        std::memcpy(floats(op.out) + static_cast<size_t>(i) * op.stride,
                    floats(op.x) + static_cast<size_t>(row) * op.x_stride, static_cast<size_t>(op.n) * sizeof(float));
    }
}

CodeRow Program::code_row(const Codes& codes, size_t row, size_t column) const {
    const size_t at = row * codes.stride + column, plane = codes.rows * codes.stride, groups = kGroupRows;
    auto* q = reinterpret_cast<int8_t*>(workspace_->data() + codes.q);
    auto* low_offsets = reinterpret_cast<Offsets*>(q + 2 * plane);
    auto* has_low = reinterpret_cast<uint8_t*>(low_offsets + plane / kBlock);
    return {q + at, q + plane + at, reinterpret_cast<BlockScale*>(workspace_->data() + codes.scales) + at / kBlock,
            low_offsets + at / kBlock,
            has_low + (row / groups * (codes.stride / kBlock) + column / kBlock) * groups + row % groups};
}

// The verb on n values of a row, from its value `first` on.
void Program::apply(const RowOp& op, const float* x, const float* y, int first, int n, float* out) const {
    switch (op.verb) {
        case RowVerb::kCopy:
            if (out != x) std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
            break;
        case RowVerb::kNorm:
            kernels_.rms_norm(x, op.weight.data(), n, op.eps, out);
            break;
        case RowVerb::kSwiglu:
            kernels_.swiglu(x, y, n, out);
            break;
        case RowVerb::kSilu:
            kernels_.silu(x, n, out);
            break;
        case RowVerb::kAdd:
            kernels_.add(x, y, n, out);
            break;
        case RowVerb::kMul:
            kernels_.mul(x, y, n, out);
            break;
        case RowVerb::kScale:
            kernels_.scale(x, op.factor, n, out);
            break;
        case RowVerb::kMulRow:
            kernels_.scale(x, *y, n, out);
            break;
        case RowVerb::kSigmoid:
            kernels_.sigmoid(x, n, out);
            break;
        case RowVerb::kGate:
            kernels_.gated(x, y, n, out);
            break;
        case RowVerb::kL2Norm:
            kernels_.l2_norm(x, n, op.eps, op.factor, out);
            break;
        case RowVerb::kNormSwiglu:
            kernels_.rms_norm(y, op.weight.data(), n, op.eps, out);
            kernels_.swiglu(x, out, n, out);
            break;
        case RowVerb::kDecay:
            kernels_.decay(x, op.weight.data() + first, op.weight.data() + op.n + first, n, out);
            break;
    }
}

int Program::units(const RowOp& op) const { return count(op.rows) * pieces(op); }

void Program::run_op(const RowOp& op, int begin, int end, int member) {
    const int n_pieces = pieces(op), part = op.n / op.groups;
    for (int unit = begin; unit < end; ++unit) {
        const size_t row = static_cast<size_t>(unit / n_pieces);
        const int first = unit % n_pieces * kColumnPiece,
                  n = n_pieces == 1 ? op.n : std::min(kColumnPiece, op.n - first);
        const float* x = floats(op.x.at) + row * op.x.stride + first;
        const float* y = op.y.at == kNone ? nullptr : floats(op.y.at) + row * op.y.stride;
        if (y && op.verb != RowVerb::kMulRow) y += first;
        float* out = op.out == kNone ? scratch(member) : floats(op.out) + row * op.out_stride + first;
        if (op.groups == 1) {
            apply(op, x, y, first, n, out);
        } else {
            for (int g = 0; g < op.groups; ++g)
                apply(op, x + static_cast<size_t>(g) * op.x.group_stride,
                      y ? y + static_cast<size_t>(g) * op.y.group_stride : nullptr, g * part, part,
                      out + static_cast<size_t>(g) * static_cast<size_t>(part));
        }
        if (op.codes.q != kNone) kernels_.quantize(out, n, code_row(op.codes, row, static_cast<size_t>(first)));
    }
}

}  // namespace outpace
