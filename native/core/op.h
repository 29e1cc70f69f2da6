// The instructions of a program: which buffers each reads and writes, and the settings of its verb.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "core/weight.h"

namespace outpace {

// Byte offsets into the workspace.
using Offset = int64_t;
constexpr Offset kNone = -1;

// Which rows of a step a value has: all, those whose hidden state is asked for, or those whose logits are.
enum class Rows : int { kAll, kExported, kWanted };
constexpr int kRowKinds = 3;

// Float rows, `stride` floats apart. Where a verb works on groups, they begin `group_stride` floats apart.
struct Operand {
    Offset at = kNone;
    size_t stride = 0, group_stride = 0;
};

// Codes of a value with room for `rows` rows; see codes_bytes in program.h.
struct Codes {
    Offset q = kNone, scales = kNone;
    size_t stride = 0, rows = 0;
};

struct EmbedOp {
    static constexpr const char* kName = "embed";
    const Weight* table;
    Offset out;
    size_t stride;
};

// Takes the hidden states that come with a step.
struct HiddenOp {
    static constexpr const char* kName = "hidden";
    int width;
    Offset out;
    size_t stride;
};

// Keeps some rows.
struct GatherOp {
    static constexpr const char* kName = "gather";
    Rows from, rows;
    Offset x;
    size_t x_stride;
    Offset out;
    size_t stride;
    int n;
};

// Row-wise verbs, optionally followed by quantising the result for the linears that read it.
enum class RowVerb : int {
    kCopy,
    kNorm,
    kSwiglu,
    kSilu,
    kAdd,
    kMul,
    kScale,
    kMulRow,  // x times y's one value
    kSigmoid,
    kGate,  // x * sigmoid(y)
    kL2Norm,
    kNormSwiglu,  // silu(x) * norm(y)
    kDecay,
};
struct RowOp {
    static constexpr const char* kName = "rows";
    RowVerb verb;
    Rows rows;
    Operand x, y;               // y: second operand, or kNone
    int n;                      // values of a row
    int groups;                 // equal parts of a row that are worked on alone
    float eps, factor;          // norms: eps; scale and l2_norm: factor
    std::vector<float> weight;  // norm; of decay the rates, then the biases
    Offset out;                 // float result, or kNone
    size_t out_stride;
    Codes codes;  // of the result, or none
};

struct LinearPart {
    const Weight* weight;
    Offset out;
    size_t out_stride;
    Offset residual;          // or kNone
    std::vector<float> bias;  // padded to whole tiles, or empty
};
struct LinearOp {
    static constexpr const char* kName = "linear";
    Rows rows;
    Offset x;  // float input, or kNone
    size_t x_stride;
    Codes codes;  // else
    std::vector<LinearPart> parts;
    int n_tiles;
    int unit_tiles = 1;  // tiles that are never parted; those of a chunk of the sampler where peaks are kept
};

struct RopeTable {
    std::vector<double> frequencies;  // one for each pair
    Offset out;                       // [T][2 * pairs]
};
struct TableOp {
    static constexpr const char* kName = "rope_table";
    int table;
};
struct RopeOp {
    static constexpr const char* kName = "rope";
    Rows rows;
    Offset x, out;
    size_t stride;
    int n_heads, head_dim, neox, table;  // table: index of its RopeTable, or -1
    float factor;
};
// Turns k, writes k and v to the cache.
struct KVWriteOp {
    static constexpr const char* kName = "kv_write";
    RopeOp k;
    Offset v;
    size_t v_stride;
    int layer;
};
// q and out have the same rows and the same stride.
struct AttentionOp {
    static constexpr const char* kName = "attention";
    Rows rows;
    Offset q, out;
    size_t stride;
    int n_heads, layer;
};
struct CombineOp {
    static constexpr const char* kName = "combine";
    AttentionOp attention;
};

// Convolves each sequence's rows after those before, which its state keeps; known rows enter it, guesses are staged.
struct ConvOp {
    static constexpr const char* kName = "conv";
    Offset x;
    size_t x_stride;
    Offset out;
    size_t out_stride;
    int layer;
    bool with_silu;
    std::vector<float> weight;  // [kernel][channels]
};
struct DeltaOp {
    static constexpr const char* kName = "gated_delta";
    Operand q, k, v, decay, beta, out;
    int layer;
    bool tiled;  // value head h has key head h % G, else h / (H / G)
};
// Keeps what the guesses of a gated-delta layer would do, once nobody reads what was kept before.
struct StageOp {
    static constexpr const char* kName = "stage";
    DeltaOp of;
};

// A mixture of experts: its settings, and for the step at hand which rows each expert has. A row has a slot for each of
// the experts it uses; those of one expert follow each other from a multiple of kGroupRows on.
struct Mixture {
    Rows rows;
    int n_used, d_model, d_ff;
    bool renormalise;
    std::vector<const Weight*> gate, up, down;  // one for each expert
    Operand x, router;                          // x: floats, if gate and up multiply those
    Codes codes;                                // of x, else
    Operand slot_x, gated, lifted, out_slots;   // [slots][...]: x again, gate x, up x, down(...)
    Codes slot_codes, hidden_codes;             // [slots]: of x and of silu(gate x) * up x, or none
    Operand out;

    struct Part {
        int expert, first, n;  // slots of an expert
    };
    std::vector<Part> parts = {};
    std::vector<int32_t> chosen = {}, slot = {};  // [rows][n_used]: expert, slot
    std::vector<int32_t> row = {};                // of each slot; -1 for one between two experts'
    std::vector<float> share = {};                // [rows][n_used]
    std::vector<int32_t> next = {};               // of each expert, its next slot

    int n_experts() const { return static_cast<int>(gate.size()); }
};
// Its stages, in order: every row chooses, slots are given out, rows go to their slots, are multiplied by gate and up,
// joined, multiplied by down, and added up in each row's own order of experts.
enum class Stage : int { kChoose, kSort, kCollect, kRaise, kJoin, kLower, kAdd };
struct ExpertsOp {
    static constexpr const char* kName = "experts";
    Stage stage;
    std::shared_ptr<Mixture> mixture;
};

using Op = std::variant<EmbedOp, HiddenOp, GatherOp, RowOp, LinearOp, TableOp, RopeOp, KVWriteOp, AttentionOp,
                        CombineOp, ConvOp, DeltaOp, StageOp, ExpertsOp>;

}  // namespace outpace
