#include "core/program.h"

#include <algorithm>
#include <chrono>

namespace outpace {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Rows rows_of(const Op& op) {
    return std::visit(
        [](const auto& each) {
            if constexpr (requires { each.rows; }) return each.rows;
            return Rows::kAll;
        },
        op);
}

}  // namespace

size_t codes_bytes(size_t rows, size_t stride) {
    const size_t groups = (rows + kGroupRows - 1) / kGroupRows;
    return 2 * rows * stride + (rows * sizeof(Offsets) + groups * kGroupRows) * (stride / kBlock);
}

size_t scales_bytes(size_t rows, size_t stride) { return rows * (stride / kBlock) * sizeof(BlockScale); }

Program::Program(std::shared_ptr<WeightArena> weights, std::shared_ptr<State> state, std::shared_ptr<Memory> workspace,
                 ProgramSpec spec)
    : weights_(std::move(weights)),
      state_(std::move(state)),
      kernels_(weights_->kernels()),
      pool_(*weights_->pool()),
      workspace_(std::move(workspace)),
      spec_(spec) {
    workspace_->make_resident(pool_);
    segment_of_.resize(static_cast<size_t>(spec_.max_rows));
    job_ = [this](int member) { work(member); };
}

void Program::add(Op op) {
    if (const auto* embed = std::get_if<EmbedOp>(&op)) n_tokens_ = std::min(n_tokens_, embed->table->n_rows);
    if (const auto* hidden = std::get_if<HiddenOp>(&op)) hidden_width_ = hidden->width;
    exports_ |= rows_of(op) == Rows::kExported;
    if (const auto* attention = std::get_if<AttentionOp>(&op)) {
        const int n_kv_heads = state_->spec().kv[static_cast<size_t>(attention->layer)].n_kv_heads;
        bool is_known = false;
        for (const Geometry& g : geometries_)
            is_known |= g.rows == attention->rows && g.n_heads == attention->n_heads && g.n_kv_heads == n_kv_heads;
        if (!is_known) geometries_.push_back({attention->rows, attention->n_heads, n_kv_heads, false, {}});
    }
    ops_.push_back({std::move(op), !is_beside_});
    is_beside_ = false;
}

int Program::add_rope_table(RopeTable table) {
    tables_.push_back(std::move(table));
    return static_cast<int>(tables_.size()) - 1;
}

void Program::run(const StepView& step) {
    check(step);
    const double begin = now_s();
    step_ = step;
    state_->advance(step.segments);
    set_rows(step);
    plan_attention();
    const size_t n_shares = ops_.size() * static_cast<size_t>(pool_.size());
    if (n_shares_ != n_shares) {
        shares_ = std::make_unique<Share[]>(n_shares);
        n_shares_ = n_shares;
    }
    for (size_t i = 0; i < n_shares_; ++i) shares_[i].taken.store(0, std::memory_order_relaxed);
    pool_.run(job_);
    last_run_s_ = now_s() - begin;
    run_s_ += last_run_s_;
}

// Notes of every row whose it is and where it stands, for all rows and for those that are exported or wanted.
void Program::set_rows(const StepView& step) {
    RowSet& all = rows_[static_cast<int>(Rows::kAll)];
    all.n = static_cast<int>(step.tokens.size());
    all.position.resize(step.tokens.size());
    all.first.clear();
    size_t row = 0;
    for (size_t s = 0; s < step.segments.size(); ++s) {
        all.first.push_back(static_cast<int32_t>(row));
        for (int i = 0; i < step.segments[s].n_rows; ++i, ++row) {
            all.position[row] = step.segments[s].start + i;
            segment_of_[row] = static_cast<int32_t>(s);
        }
    }
    all.first.push_back(all.n);
    const auto pick = [&](Rows kind, std::span<const int32_t> index) {
        RowSet& set = rows_[static_cast<int>(kind)];
        set.n = static_cast<int>(index.size());
        set.index = index;
        set.position.clear();
        set.first.clear();
        size_t at = 0;
        for (size_t s = 0; s < step.segments.size(); ++s) {
            set.first.push_back(static_cast<int32_t>(at));
            for (; at < index.size() && index[at] < all.first[s + 1]; ++at)
                set.position.push_back(all.position[static_cast<size_t>(index[at])]);
        }
        set.first.push_back(set.n);
    };
    pick(Rows::kWanted, step.wanted);
    if (!exports_) return;
    const std::span<const int32_t> exported = step.exported.empty() ? step.wanted : step.exported;
    pick(Rows::kExported, exported);
    wanted_in_exported_.clear();
    size_t at = 0;
    for (const int32_t wanted : step.wanted) {
        while (exported[at] != wanted) ++at;
        wanted_in_exported_.push_back(static_cast<int32_t>(at));
    }
}

int Program::n_units(const Op& op) const {
    return std::visit([this](const auto& each) { return units(each); }, op);
}

// How many units a thread takes at least, where they are left: tiles that a kernel reads side by side (linear.h).
int Program::grain(const Op& op) const {
    const auto* linear = std::get_if<LinearOp>(&op);
    if (!linear) return 1;
    return count(linear->rows) <= 4 ? 4 : 2;
}

// The units of an instruction that are a member's own.
std::pair<int, int> Program::share(int n_units, int member) const {
    const auto border = [&](int64_t i) { return static_cast<int>(n_units * i / pool_.size()); };
    return {border(member), border(member + 1)};
}

// Takes the next stretch of units: half of what is left of the owner's share or, where nothing is, of the next
// member's. So each thread walks through neighbouring units, which memory gives soonest, and whoever is done helps the
// others.
bool Program::claim(size_t op, int n_units, int& owner, int& begin, int& end) const {
    const int n = pool_.size(), least = grain(ops_[op].op);
    for (int tried = 0; tried < n; ++tried, owner = (owner + 1) % n) {
        const auto [first, last] = share(n_units, owner);
        const int size = last - first;
        std::atomic<int>& taken = shares_[op * static_cast<size_t>(n) + static_cast<size_t>(owner)].taken;
        for (int at = taken.load(std::memory_order_relaxed); at < size;) {
            const int left = size - at, take = std::min(left, std::max(left / 2 / least, 1) * least);
            if (taken.compare_exchange_weak(at, at + take, std::memory_order_relaxed)) {
                begin = first + at;
                end = begin + take;
                return true;
            }
        }
    }
    return false;
}

// Finds what a member reads first of the first matrix that is needed from an instruction on, if it was not found
// before.
void Program::look_ahead(size_t instruction, int member, Ahead& ahead) const {
    if (ahead.instruction >= instruction) return;
    ahead = {};
    const LinearOp* op = nullptr;
    for (; instruction < ops_.size(); ++instruction) {
        op = std::get_if<LinearOp>(&ops_[instruction].op);
        if (op && units(*op) > 0) break;
    }
    ahead.instruction = instruction;
    if (instruction == ops_.size()) return;
    int tile = share(units(*op), member).first * op->unit_tiles;
    for (const LinearPart& part : op->parts) {
        const Weight& weight = *part.weight;
        if (tile < weight.n_tiles()) {
            ahead.tiles = weight.tiles + static_cast<size_t>(tile) * weight.tile_bytes;
            ahead.tile_bytes = weight.tile_bytes;
            ahead.n_tiles = std::min(weight.n_tiles() - tile, static_cast<int>(Ahead::kMostBytes / weight.tile_bytes));
            return;
        }
        tile -= weight.n_tiles();
    }
}

void Program::work(int member) {
    double begun = profiling_ && member == 0 ? now_s() : 0;
    bool is_waiting = false, has_worked = false;
    Ahead ahead;
    for (size_t i = 0; i < ops_.size(); ++i) {
        const auto& [op, waits] = ops_[i];
        is_waiting |= waits;
        const int units = n_units(op);
        // What nobody has work for still keeps those after it apart from those before it.
        if (units == 0) continue;
        if (is_waiting && has_worked) {
            look_ahead(i, member, ahead);
            pool_.barrier([&] { return ahead.fetch(); });
        }
        is_waiting = false;
        has_worked = true;
        for (int owner = member, begin, end; claim(i, units, owner, begin, end);)
            std::visit([&](const auto& each) { run_op(each, begin, end, member); }, op);
        if (profiling_) {
            pool_.barrier();
            if (member == 0) {
                const double ended = now_s();
                seconds_[i] += ended - begun;
                begun = ended;
            }
        }
    }
}

void Program::set_profile(bool on) {
    profiling_ = on;
    seconds_.assign(ops_.size(), 0.0);
}

std::vector<std::pair<std::string, double>> Program::profile() const {
    std::vector<std::pair<std::string, double>> found;
    for (size_t i = 0; i < seconds_.size(); ++i)
        found.emplace_back(std::visit([](const auto& op) { return op.kName; }, ops_[i].op), seconds_[i]);
    return found;
}

}  // namespace outpace
