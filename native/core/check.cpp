// What a step may be: every index is checked before anything is staged.
#include <stdexcept>

#include "core/program.h"

namespace outpace {
namespace {

constexpr int kPage = 64;

void refuse(bool is_wrong, const char* why) {
    if (is_wrong) throw std::invalid_argument(why);
}

void check_rows(std::span<const int32_t> rows, size_t n_rows, const char* range, const char* order) {
    int32_t last = -1;
    for (const int32_t row : rows) {
        refuse(row < 0 || static_cast<size_t>(row) >= n_rows, range);
        refuse(row <= last, order);
        last = row;
    }
}

}  // namespace

void Program::check(const StepView& step) const {
    const size_t n_rows = step.tokens.size();
    if (n_rows == 0 || n_rows > static_cast<size_t>(spec_.max_rows))
        throw std::invalid_argument("a step takes 1 to " + std::to_string(spec_.max_rows) + " rows");
    if (step.wanted.size() > static_cast<size_t>(spec_.max_wanted))
        throw std::invalid_argument("a step gives logits for at most " + std::to_string(spec_.max_wanted) + " rows");
    for (const int32_t token : step.tokens) refuse(token < 0 || token >= n_tokens_, "token id out of range");
    check_rows(step.wanted, n_rows, "wanted row out of range", "wanted rows are not in order");
    if (exports_ && !step.exported.empty()) {
        if (step.exported.size() > static_cast<size_t>(spec_.max_exported))
            throw std::invalid_argument("a step exports at most " + std::to_string(spec_.max_exported) + " rows");
        check_rows(step.exported, n_rows, "exported row out of range", "exported rows are not in order");
        size_t at = 0;
        for (const int32_t wanted : step.wanted) {
            while (at < step.exported.size() && step.exported[at] < wanted) ++at;
            refuse(at == step.exported.size() || step.exported[at] != wanted, "a wanted row is not exported");
        }
    }
    if (hidden_width_ != 0)
        refuse(step.hidden_rows != n_rows || step.hidden_width != static_cast<size_t>(hidden_width_),
               "this program needs a hidden state for each row");
    int64_t rows = 0;
    for (size_t i = 0; i < step.segments.size(); ++i) {
        const SegmentView& s = step.segments[i];
        refuse(s.n_rows <= 0 || s.start < 0, "a segment has no rows or starts before 0");
        refuse(s.first < 0 || s.first > s.start || s.first % kPage != 0,
               "attention begins at a multiple of 64 that is at most the segment's start");
        rows += s.n_rows;
        const size_t needed = (static_cast<size_t>(s.start) + static_cast<size_t>(s.n_rows) + kPage - 1) / kPage;
        refuse(needed > step.n_pages[i], "a segment's page table is too short");
        const int n_pages = state_->spec().n_pages;
        for (size_t p = 0; p < needed; ++p) refuse(s.pages[p] < 0 || s.pages[p] >= n_pages, "page out of range");
    }
    refuse(rows != static_cast<int64_t>(n_rows), "segments do not cover the rows");
    state_->check(step.segments);
}

}  // namespace outpace
