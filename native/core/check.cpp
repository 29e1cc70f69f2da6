// What a step may be: every index is checked before anything is staged.
#include <stdexcept>

#include "core/program.h"

namespace outpace {

constexpr size_t kPage = 64;

void Program::check(std::span<const SegmentView> segments, std::span<const size_t> n_pages,
                    std::span<const int32_t> tokens, std::span<const int32_t> wanted) const {
    if (tokens.empty() || tokens.size() > static_cast<size_t>(spec_.max_rows))
        throw std::invalid_argument("a step takes 1 to " + std::to_string(spec_.max_rows) + " rows");
    if (wanted.size() > static_cast<size_t>(spec_.max_wanted))
        throw std::invalid_argument("a step gives logits for at most " + std::to_string(spec_.max_wanted) + " rows");
    for (int32_t token : tokens)
        if (token < 0 || token >= n_tokens_) throw std::invalid_argument("token id out of range");
    for (int32_t row : wanted)
        if (row < 0 || static_cast<size_t>(row) >= tokens.size())
            throw std::invalid_argument("wanted row out of range");
    int64_t rows = 0;
    for (size_t i = 0; i < segments.size(); ++i) {
        const SegmentView& s = segments[i];
        if (s.n_rows <= 0 || s.start < 0) throw std::invalid_argument("a segment has no rows or starts before 0");
        rows += s.n_rows;
        const size_t needed = (static_cast<size_t>(s.start) + static_cast<size_t>(s.n_rows) + kPage - 1) / kPage;
        if (needed > n_pages[i]) throw std::invalid_argument("a segment's page table is too short");
        for (size_t p = 0; p < needed; ++p)
            if (s.pages[p] < 0 || s.pages[p] >= spec_.n_pages) throw std::invalid_argument("page out of range");
    }
    if (rows != static_cast<int64_t>(tokens.size())) throw std::invalid_argument("segments do not cover the rows");
}

}  // namespace outpace
