// Recurrent verbs: each sequence's rows after those its slot's state has taken in, guesses beside it.
#include <algorithm>
#include <cstring>

#include "core/program.h"

namespace outpace {
namespace {

constexpr int kChannels = 256;  // of one unit of a convolution

int ceil_div(int a, int b) { return (a + b - 1) / b; }

float* row(const Operand& place, float* begin, size_t i) { return begin + i * place.stride; }

}  // namespace

int Program::units(const ConvOp& op) const {
    const RecurrentShape& shape = state_->spec().recurrent[static_cast<size_t>(op.layer)];
    return static_cast<int>(step_.segments.size()) * ceil_div(shape.n_channels, kChannels);
}

void Program::run_op(const ConvOp& op, int begin, int end, int) {
    const RecurrentShape& shape = state_->spec().recurrent[static_cast<size_t>(op.layer)];
    const int stretches = ceil_div(shape.n_channels, kChannels), n_past = shape.kernel - 1;
    const size_t channels = static_cast<size_t>(shape.n_channels);
    std::vector<const float*> rows(static_cast<size_t>(shape.kernel));
    for (int unit = begin; unit < end; ++unit) {
        const SegmentView& segment = step_.segments[static_cast<size_t>(unit / stretches)];
        const size_t first = static_cast<size_t>(unit % stretches * kChannels);
        const int n = std::min(kChannels, shape.n_channels - static_cast<int>(first));
        const size_t bytes = static_cast<size_t>(n) * sizeof(float);
        const size_t first_row = static_cast<size_t>(set_of(Rows::kAll).first[static_cast<size_t>(unit / stretches)]);
        const Slot slot = state_->slot(op.layer, segment.slot);
        float *window = slot.window + first, *staged = slot.inputs + first;
        const float* x = floats(op.x) + first_row * op.x_stride + first;
        if (segment.start == 0)
            for (int i = 0; i < n_past; ++i) std::memset(window + static_cast<size_t>(i) * channels, 0, bytes);
        // Input i of those that the rows see: the last ones of the past with what was accepted, then the rows'.
        const auto input = [&](int i) -> const float* {
            if (i >= n_past) return x + static_cast<size_t>(i - n_past) * op.x_stride;
            i += segment.n_pending;
            return i < n_past ? window + static_cast<size_t>(i) * channels
                              : staged + static_cast<size_t>(i - n_past) * channels;
        };
        for (int i = 0; i < segment.n_rows; ++i) {
            for (int j = 0; j < shape.kernel; ++j) rows[static_cast<size_t>(j)] = input(i + j);
            kernels_.conv(rows.data(), op.weight.data() + first, channels, shape.kernel, n, op.with_silu,
                          floats(op.out) + (first_row + static_cast<size_t>(i)) * op.out_stride + first);
        }
        // The window moves towards the past, so no input is overwritten before it is copied; then the guesses.
        const int n_known = segment.n_rows - segment.n_draft;
        for (int i = 0; i < n_past; ++i)
            std::memmove(window + static_cast<size_t>(i) * channels, input(n_known + i), bytes);
        for (int i = 0; i < segment.n_draft; ++i)
            std::memcpy(staged + static_cast<size_t>(i) * channels, input(n_past + n_known + i), bytes);
    }
}

int Program::units(const DeltaOp& op) const {
    const RecurrentShape& shape = state_->spec().recurrent[static_cast<size_t>(op.layer)];
    return static_cast<int>(step_.segments.size()) * shape.n_heads * ceil_div(shape.value_dim, kDeltaColumns);
}

void Program::run_op(const DeltaOp& op, int begin, int end, int member) {
    const RecurrentShape& shape = state_->spec().recurrent[static_cast<size_t>(op.layer)];
    const int stretches = ceil_div(shape.value_dim, kDeltaColumns), heads = shape.n_heads;
    const size_t key_dim = static_cast<size_t>(shape.key_dim);
    for (int unit = begin; unit < end; ++unit) {
        const size_t s = static_cast<size_t>(unit / stretches / heads);
        const int h = unit / stretches % heads, column = unit % stretches * kDeltaColumns;
        const int g = op.tiled ? h % shape.n_key_heads : h / (heads / shape.n_key_heads);
        const SegmentView& segment = step_.segments[s];
        const Slot slot = state_->slot(op.layer, segment.slot);
        const size_t head = static_cast<size_t>(h), key_head = static_cast<size_t>(g);
        const size_t key_at = key_head * key_dim;
        const size_t value_at = head * static_cast<size_t>(shape.value_dim) + static_cast<size_t>(column);
        const size_t keys = static_cast<size_t>(shape.n_key_heads) * key_dim, n_heads = static_cast<size_t>(heads);
        const size_t values = n_heads * static_cast<size_t>(shape.value_dim);
        const size_t first = static_cast<size_t>(set_of(Rows::kAll).first[s]);
        DeltaArgs args;
        args.memory = slot.memory + (head * shape.columns() + static_cast<size_t>(column)) * key_dim;
        args.scratch = scratch(member);
        args.key_dim = shape.key_dim;
        args.columns = std::min(kDeltaColumns, shape.value_dim - column);
        args.pending = {nullptr,
                        slot.k + key_at,
                        slot.v + value_at,
                        slot.decay + head,
                        slot.beta + head,
                        0,
                        keys,
                        values,
                        n_heads,
                        n_heads,
                        nullptr,
                        0,
                        segment.n_pending};
        args.rows = {row(op.q, floats(op.q.at), first) + key_at,
                     row(op.k, floats(op.k.at), first) + key_at,
                     row(op.v, floats(op.v.at), first) + value_at,
                     row(op.decay, floats(op.decay.at), first) + head,
                     row(op.beta, floats(op.beta.at), first) + head,
                     op.q.stride,
                     op.k.stride,
                     op.v.stride,
                     op.decay.stride,
                     op.beta.stride,
                     row(op.out, floats(op.out.at), first) + value_at,
                     op.out.stride,
                     segment.n_rows};
        args.n_known = segment.n_rows - segment.n_draft;
        if (segment.start == 0)
            std::memset(args.memory, 0, static_cast<size_t>((args.columns + 15) / 16 * 16) * key_dim * sizeof(float));
        kernels_.gated_delta(args);
    }
}

int Program::units(const StageOp&) const {
    for (const SegmentView& segment : step_.segments)
        if (segment.n_draft > 0) return static_cast<int>(step_.segments.size());
    return 0;
}

void Program::run_op(const StageOp& op, int begin, int end, int) {
    const DeltaOp& of = op.of;
    const RecurrentShape& shape = state_->spec().recurrent[static_cast<size_t>(of.layer)];
    const size_t keys = static_cast<size_t>(shape.n_key_heads * shape.key_dim);
    const size_t heads = static_cast<size_t>(shape.n_heads), values = heads * static_cast<size_t>(shape.value_dim);
    for (int s = begin; s < end; ++s) {
        const SegmentView& segment = step_.segments[static_cast<size_t>(s)];
        const Slot slot = state_->slot(of.layer, segment.slot);
        const size_t first =
            static_cast<size_t>(set_of(Rows::kAll).first[static_cast<size_t>(s)] + segment.n_rows - segment.n_draft);
        for (size_t i = 0; i < static_cast<size_t>(segment.n_draft); ++i) {
            const auto keep = [&](const Operand& place, float* out, size_t n) {
                std::memcpy(out + i * n, row(place, floats(place.at), first + i), n * sizeof(float));
            };
            keep(of.k, slot.k, keys);
            keep(of.v, slot.v, values);
            keep(of.decay, slot.decay, heads);
            keep(of.beta, slot.beta, heads);
        }
    }
}

}  // namespace outpace
