#include "core/program.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace outpace {
namespace {

constexpr int kPage = 64, kChunk = 256;
constexpr int kColumnPiece = 512;  // values of a row that one unit of an element-wise verb takes
constexpr int kRowsPerUnit = 16;   // query rows of one attention unit in prefill

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int ceil_div(int a, int b) { return (a + b - 1) / b; }

bool is_split(RowVerb verb) { return verb != RowVerb::kNorm; }

}  // namespace

size_t codes_bytes(size_t rows, size_t stride) {
    const size_t groups = (rows + kGroupRows - 1) / kGroupRows;
    return 2 * rows * stride + (rows * sizeof(Offsets) + groups * kGroupRows) * (stride / kBlock);
}

size_t kv_page_bytes(const KVShape& shape, int kv_type) {
    const size_t values = static_cast<size_t>(shape.head_dim) * kPage;
    const size_t blocks = (static_cast<size_t>(shape.head_dim) + kBlock - 1) / kBlock;
    const size_t head = kv_type == kF16 ? values * 2 : values + blocks * kPage * 2;
    return 2 * head * static_cast<size_t>(shape.n_kv_heads);
}

Program::Program(std::shared_ptr<WeightArena> weights, ProgramSpec spec)
    : weights_(std::move(weights)),
      kernels_(weights_->kernels()),
      pool_(*weights_->pool()),
      spec_(std::move(spec)),
      workspace_(spec_.workspace_bytes) {
    for (const KVShape& shape : spec_.kv)
        kv_.push_back(
            std::make_unique<Memory>(kv_page_bytes(shape, spec_.kv_type) * static_cast<size_t>(spec_.n_pages)));
    // All of it now, every thread a share: a run holds what was told, and no step waits for the system.
    pool_.run([&](int member) {
        const auto share = [&](Memory& memory) {
            const size_t n = static_cast<size_t>(pool_.size()), i = static_cast<size_t>(member);
            memory.make_resident(memory.size() / n * i, i + 1 == n ? memory.size() : memory.size() / n * (i + 1));
        };
        share(workspace_);
        for (const auto& layer : kv_) share(*layer);
    });
    position_.resize(static_cast<size_t>(spec_.max_rows));
    segment_of_.resize(static_cast<size_t>(spec_.max_rows));
    job_ = [this](int member) { work(member); };
}

void Program::add(Op op) {
    if (const auto* embed = std::get_if<EmbedOp>(&op)) n_tokens_ = std::min(n_tokens_, embed->table->n_rows);
    ops_.push_back(std::move(op));
}

int Program::add_rope_table(RopeTable table) {
    tables_.push_back(std::move(table));
    return static_cast<int>(tables_.size()) - 1;
}

KVLayer Program::layer(int index) const {
    const KVShape& shape = spec_.kv[static_cast<size_t>(index)];
    return {kv_[static_cast<size_t>(index)]->data(), kv_page_bytes(shape, spec_.kv_type), shape.n_kv_heads,
            shape.head_dim, spec_.kv_type};
}

void Program::copy_page(int source, int target) {
    if (std::min(source, target) < 0 || std::max(source, target) >= spec_.n_pages)
        throw std::invalid_argument("page out of range");
    for (size_t i = 0; i < kv_.size(); ++i) {
        const size_t bytes = kv_page_bytes(spec_.kv[i], spec_.kv_type);
        std::memcpy(kv_[i]->data() + bytes * static_cast<size_t>(target),
                    kv_[i]->data() + bytes * static_cast<size_t>(source), bytes);
    }
}

void Program::run(std::span<const int32_t> tokens, std::span<const SegmentView> segments,
                  std::span<const size_t> n_pages, std::span<const int32_t> wanted) {
    const double begin = now_s();
    check(segments, n_pages, tokens, wanted);
    T_ = static_cast<int>(tokens.size());
    W_ = static_cast<int>(wanted.size());
    tokens_ = tokens;
    wanted_ = wanted;
    segments_ = segments;
    size_t row = 0;
    for (size_t s = 0; s < segments.size(); ++s)
        for (int i = 0; i < segments[s].n_rows; ++i, ++row) {
            position_[row] = segments[s].start + i;
            segment_of_[row] = static_cast<int32_t>(s);
        }
    plan_attention();
    if (n_counters_ != ops_.size()) {
        counters_ = std::make_unique<Counter[]>(ops_.size());
        n_counters_ = ops_.size();
    }
    for (size_t i = 0; i < n_counters_; ++i) counters_[i].next.store(0, std::memory_order_relaxed);
    pool_.run(job_);
    last_run_s_ = now_s() - begin;
    run_s_ += last_run_s_;
}

const Program::Geometry& Program::geometry(int n_heads, int index) const {
    const KVShape& shape = spec_.kv[static_cast<size_t>(index)];
    for (const Geometry& g : geometries_)
        if (g.n_heads == n_heads && g.n_kv_heads == shape.n_kv_heads && g.head_dim == shape.head_dim) return g;
    geometries_.push_back({n_heads, shape.n_kv_heads, shape.head_dim, {}});
    return geometries_.back();
}

// Which rows, heads and chunks each unit of attention takes in this step. Never changes a result, only who computes it.
void Program::plan_attention() {
    if (geometries_.empty()) {
        geometries_.reserve(spec_.kv.size());
        for (const Op& op : ops_)
            if (const auto* attention = std::get_if<AttentionOp>(&op)) geometry(attention->n_heads, attention->layer);
    }
    int longest = 0;
    for (const SegmentView& s : segments_) longest = std::max(longest, s.start + s.n_rows);
    split_ = T_ <= spec_.partial_rows && longest > kChunk;
    for (Geometry& g : geometries_) {
        g.units.clear();
        for (int s = 0; s < static_cast<int>(segments_.size()); ++s) {
            const SegmentView& segment = segments_[static_cast<size_t>(s)];
            const int chunks = ceil_div(segment.start + segment.n_rows, kChunk);
            for (int head = 0; head < g.n_kv_heads; ++head) {
                if (split_) {
                    for (int c = 0; c < chunks; ++c) g.units.push_back({s, head, 0, segment.n_rows, c, c + 1});
                    continue;
                }
                for (int r = 0; r < segment.n_rows; r += kRowsPerUnit)
                    g.units.push_back({s, head, r, std::min(r + kRowsPerUnit, segment.n_rows), 0, chunks});
            }
        }
    }
}

int Program::n_units(const Op& op) const {
    struct Count {
        const Program& p;
        int operator()(const EmbedOp&) const { return p.T_; }
        int operator()(const GatherOp&) const { return p.W_; }
        int operator()(const RowOp& op) const {
            return p.count(op.rows) * (is_split(op.verb) ? ceil_div(op.n, kColumnPiece) : 1);
        }
        int operator()(const LinearOp& op) const { return p.count(op.rows) ? ceil_div(op.n_tiles, op.unit_tiles) : 0; }
        int operator()(const TableOp&) const { return p.T_; }
        int operator()(const RopeOp&) const { return p.T_; }
        int operator()(const KVWriteOp& op) const {
            return p.T_ * p.spec_.kv[static_cast<size_t>(op.layer)].n_kv_heads;
        }
        int operator()(const AttentionOp& op) const {
            return static_cast<int>(p.geometry(op.n_heads, op.layer).units.size());
        }
        int operator()(const CombineOp& op) const { return p.split_ ? p.T_ * op.n_heads : 0; }
    };
    return std::visit(Count{*this}, op);
}

// Takes the next stretch of units: a share of what is left, so that early stretches are long and late ones even.
int Program::claim(std::atomic<int>& next, int n_units, int& begin) const {
    int at = next.load(std::memory_order_relaxed);
    for (;;) {
        if (at >= n_units) return 0;
        const int take = std::max(1, (n_units - at) / (2 * pool_.size()));
        if (next.compare_exchange_weak(at, at + take, std::memory_order_relaxed)) {
            begin = at;
            return take;
        }
    }
}

void Program::work(int member) {
    double begun = profiling_ && member == 0 ? now_s() : 0;
    for (size_t i = 0; i < ops_.size(); ++i) {
        const Op& op = ops_[i];
        const int units = n_units(op);
        if (units == 0) continue;
        int begin = 0;
        for (int take; (take = claim(counters_[i].next, units, begin)) > 0;) execute(op, begin, begin + take, member);
        pool_.barrier();
        if (profiling_ && member == 0) {
            const double ended = now_s();
            seconds_[i] += ended - begun;
            begun = ended;
        }
    }
}

void Program::execute(const Op& op, int begin, int end, int member) {
    std::visit([&](const auto& o) { run_op(o, begin, end, member); }, op);
}

void Program::run_op(const EmbedOp& op, int begin, int end, int) {
    const Weight& table = *op.table;
    for (int row = begin; row < end; ++row) {
        const int token = tokens_[static_cast<size_t>(row)];
        kernels_.unpack_row(table.type, table.tiles + static_cast<size_t>(token / kTileRows) * table.tile_bytes,
                            token % kTileRows, table.n_cols, floats(op.out) + static_cast<size_t>(row) * op.stride);
    }
}

void Program::run_op(const GatherOp& op, int begin, int end, int) {
    for (int i = begin; i < end; ++i)
        std::memcpy(floats(op.out) + static_cast<size_t>(i) * op.stride,
                    floats(op.x) + static_cast<size_t>(wanted_[static_cast<size_t>(i)]) * op.stride,
                    op.stride * sizeof(float));
}

CodeRow Program::code_row(const RowOp& op, size_t row, size_t column) {
    const size_t at = row * op.stride + column, plane = capacity(op.rows) * op.stride, groups = kGroupRows;
    auto* q = reinterpret_cast<int8_t*>(workspace_.data() + op.q);
    auto* low_offsets = reinterpret_cast<Offsets*>(q + 2 * plane);
    auto* has_low = reinterpret_cast<uint8_t*>(low_offsets + plane / kBlock);
    return {q + at, q + plane + at, reinterpret_cast<BlockScale*>(workspace_.data() + op.scales) + at / kBlock,
            low_offsets + at / kBlock,
            has_low + (row / groups * (op.stride / kBlock) + column / kBlock) * groups + row % groups};
}

void Program::run_op(const RowOp& op, int begin, int end, int member) {
    const int pieces = is_split(op.verb) ? ceil_div(op.n, kColumnPiece) : 1;
    auto* scratch =
        reinterpret_cast<float*>(workspace_.data() + spec_.scratch + static_cast<size_t>(member) * spec_.scratch_bytes);
    for (int unit = begin; unit < end; ++unit) {
        const size_t row = static_cast<size_t>(unit / pieces);
        const int first = unit % pieces * kColumnPiece, n = pieces == 1 ? op.n : std::min(kColumnPiece, op.n - first);
        const size_t at = row * op.stride + static_cast<size_t>(first);
        const float* x = floats(op.x) + at;
        const float* y = op.y == kNone ? nullptr : floats(op.y) + at;
        float* out = op.out == kNone ? scratch : floats(op.out) + at;
        switch (op.verb) {
            case RowVerb::kCopy:
                out = const_cast<float*>(x);
                break;
            case RowVerb::kNorm: {
                const int part = op.n / op.groups;
                for (int g = 0; g < op.groups; ++g)
                    kernels_.rms_norm(x + g * part, op.weight.data(), part, op.factor, out + g * part);
                break;
            }
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
        }
        if (op.q != kNone) kernels_.quantize(out, n, code_row(op, row, static_cast<size_t>(first)));
    }
}

void Program::run_op(const LinearOp& op, int begin, int end, int) {
    Activations act = {};
    act.row_stride = op.in_stride;
    if (op.q != kNone) {
        const size_t plane = capacity(op.rows) * op.in_stride;
        act.q = reinterpret_cast<const int8_t*>(workspace_.data() + op.q);
        act.low = act.q + plane;
        act.low_offsets = reinterpret_cast<const Offsets*>(act.q + 2 * plane);
        act.has_low = reinterpret_cast<const uint8_t*>(act.low_offsets + plane / kBlock);
        act.s = reinterpret_cast<const BlockScale*>(workspace_.data() + op.scales);
    } else {
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

void Program::run_op(const TableOp& op, int begin, int end, int) {
    const RopeTable& table = tables_[static_cast<size_t>(op.table)];
    const size_t pairs = table.frequencies.size();
    for (int row = begin; row < end; ++row) {
        float* out = floats(table.out) + static_cast<size_t>(row) * 2 * pairs;
        for (size_t i = 0; i < pairs; ++i) {
            const double angle = position_[static_cast<size_t>(row)] * table.frequencies[i];
            out[i] = static_cast<float>(std::cos(angle));
            out[pairs + i] = static_cast<float>(std::sin(angle));
        }
    }
}

void Program::rope_row(const RopeOp& op, int row, int head_begin, int head_end) {
    RopeArgs rope = {nullptr, 0, op.neox};
    if (op.table >= 0) {
        const RopeTable& table = tables_[static_cast<size_t>(op.table)];
        rope.dims = static_cast<int>(2 * table.frequencies.size());
        rope.cos_sin = floats(table.out) + static_cast<size_t>(row) * static_cast<size_t>(rope.dims);
    }
    for (int head = head_begin; head < head_end; ++head) {
        const size_t at = static_cast<size_t>(row) * op.stride + static_cast<size_t>(head * op.head_dim);
        kernels_.rope_head(floats(op.x) + at, op.head_dim, rope, op.factor, floats(op.out) + at);
    }
}

void Program::run_op(const RopeOp& op, int begin, int end, int) {
    for (int row = begin; row < end; ++row) rope_row(op, row, 0, op.n_heads);
}

void Program::run_op(const KVWriteOp& op, int begin, int end, int) {
    const KVLayer kv = layer(op.layer);
    const int group = op.q.n_heads / kv.n_kv_heads;
    for (int unit = begin; unit < end; ++unit) {
        const int row = unit / kv.n_kv_heads, head = unit % kv.n_kv_heads;
        rope_row(op.q, row, head * group, (head + 1) * group);
        rope_row(op.k, row, head, head + 1);
        const int position = position_[static_cast<size_t>(row)];
        const SegmentView& segment = segments_[static_cast<size_t>(segment_of_[static_cast<size_t>(row)])];
        uint8_t* page = kv.pages + static_cast<size_t>(segment.pages[position / kPage]) * kv.page_bytes;
        const size_t at = static_cast<size_t>(row) * op.kv_stride + static_cast<size_t>(head * kv.head_dim);
        kernels_.kv_write(kv, page, position % kPage, head, floats(op.k.out) + at, floats(op.v) + at);
    }
}

void Program::run_op(const AttentionOp& op, int begin, int end, int member) {
    const Geometry& g = geometry(op.n_heads, op.layer);
    AttentionArgs args = {};
    args.kv = layer(op.layer);
    args.q = floats(op.q);
    args.q_stride = op.stride;
    args.n_heads = op.n_heads;
    args.out = floats(op.out);
    args.partial = split_ ? floats(spec_.partial) : nullptr;
    args.partial_chunks = spec_.partial_chunks;
    args.scratch =
        reinterpret_cast<float*>(workspace_.data() + spec_.scratch + static_cast<size_t>(member) * spec_.scratch_bytes);
    for (int i = begin; i < end; ++i) {
        const AttentionUnit& u = g.units[static_cast<size_t>(i)];
        args.segment = segments_[static_cast<size_t>(u.segment)];
        kernels_.attention(args, u.head, u.row_begin, u.row_end, u.chunk_begin, u.chunk_end);
    }
}

void Program::run_op(const CombineOp& op, int begin, int end, int) {
    const size_t state = static_cast<size_t>(op.head_dim) + 2;
    for (int unit = begin; unit < end; ++unit) {
        const size_t row = static_cast<size_t>(unit / op.n_heads), head = static_cast<size_t>(unit % op.n_heads);
        float* partial = floats(spec_.partial) + (row * static_cast<size_t>(op.n_heads) + head) *
                                                     static_cast<size_t>(spec_.partial_chunks) * state;
        kernels_.attention_combine(partial, ceil_div(position_[row] + 1, kChunk), op.head_dim,
                                   floats(op.out) + row * op.stride + head * static_cast<size_t>(op.head_dim));
    }
}

void Program::set_profile(bool on) {
    profiling_ = on;
    seconds_.assign(ops_.size(), 0.0);
}

std::vector<std::pair<std::string, double>> Program::profile() const {
    static const char* const names[] = {"embed", "gather",   "rows",      "linear", "rope_table",
                                        "rope",  "kv_write", "attention", "combine"};
    std::vector<std::pair<std::string, double>> found;
    for (size_t i = 0; i < seconds_.size(); ++i) found.emplace_back(names[ops_[i].index()], seconds_[i]);
    return found;
}

}  // namespace outpace
