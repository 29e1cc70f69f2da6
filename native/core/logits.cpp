// Logits as a sampler wants them: their largest values noted while they are made.
#include "core/logits.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "core/program.h"

namespace outpace {

bool Program::keep_peaks(Offset at) {
    // The last one that writes there: before the logits are made, their place may have been another value's.
    for (size_t i = ops_.size(); i-- > 0;) {
        auto* op = std::get_if<LinearOp>(&ops_[i].op);
        if (op == nullptr || op->parts.size() != 1 || op->parts[0].out != at || op->rows != Rows::kWanted) continue;
        op->unit_tiles = static_cast<int>(kSampleChunk) / kTileRows;
        logits_ = i;
        const size_t n_chunks = static_cast<size_t>((op->n_tiles + op->unit_tiles - 1) / op->unit_tiles);
        peaks_.resize(n_chunks * static_cast<size_t>(spec_.max_wanted));
        return true;
    }
    return false;
}

Logits Program::logits() const {
    if (logits_ == SIZE_MAX) throw std::logic_error("this program keeps no peaks");
    const LinearPart& part = std::get<LinearOp>(ops_[logits_].op).parts[0];
    return {floats(part.out), part.out_stride, static_cast<size_t>(count(Rows::kWanted)),
            static_cast<size_t>(part.weight->n_rows), peaks_.data()};
}

void Program::note_peaks(const LinearOp& op, int tile_begin, int tile_end) {
    const LinearPart& part = op.parts[0];
    const size_t n = static_cast<size_t>(part.weight->n_rows), n_chunks = (n + kSampleChunk - 1) / kSampleChunk;
    const size_t begin = static_cast<size_t>(tile_begin) * kTileRows;
    const size_t end = std::min(static_cast<size_t>(tile_end) * kTileRows, n);
    for (size_t row = 0; row < static_cast<size_t>(count(Rows::kWanted)); ++row) {
        float* out = peaks_.data() + row * n_chunks + begin / kSampleChunk;
        if (!kernels_.sample.chunk_max(floats(part.out) + row * part.out_stride + begin, end - begin, out))
            std::fill_n(out, (end - begin + kSampleChunk - 1) / kSampleChunk, std::numeric_limits<float>::quiet_NaN());
    }
}

}  // namespace outpace
