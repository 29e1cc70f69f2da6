// The instructions that Python adds to a program, in the order they run.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <tuple>

#include "core/program.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace outpace;

namespace {

// Offset, stride and group stride.
using Place = std::tuple<Offset, size_t, size_t>;

Operand operand(const Place& place) { return {std::get<0>(place), std::get<1>(place), std::get<2>(place)}; }

// Offsets of codes and scales, stride, rows.
using CodePlace = std::tuple<Offset, Offset, size_t, size_t>;

Codes codes_of(const CodePlace& place) {
    return {std::get<0>(place), std::get<1>(place), std::get<2>(place), std::get<3>(place)};
}

Rows rows_of(int rows) { return static_cast<Rows>(rows); }

void add_linear(Program& p, int rows, Offset x, size_t x_stride, const CodePlace& codes,
                const std::vector<const Weight*>& weights, const std::vector<Offset>& outs,
                const std::vector<size_t>& strides, const std::vector<Offset>& residuals,
                std::vector<std::vector<float>> biases) {
    LinearOp op = {rows_of(rows), x, x_stride, codes_of(codes), {}, 0};
    for (size_t i = 0; i < weights.size(); ++i) {
        op.parts.push_back({weights[i], outs.at(i), strides.at(i), residuals.at(i), std::move(biases.at(i))});
        op.n_tiles += weights[i]->n_tiles();
    }
    p.add(std::move(op));
}

using Matrices = std::vector<const Weight*>;

void add_experts(Program& p, int rows, int max_rows, int max_slots, int n_used, bool renormalise, int d_model, int d_ff,
                 const Matrices& gate, const Matrices& up, const Matrices& down, const Place& x, const CodePlace& codes,
                 const Place& router, const Place& slot_x, const CodePlace& slot_codes, const Place& gated,
                 const Place& lifted, const CodePlace& hidden_codes, const Place& out_slots, const Place& out) {
    const auto mixture = std::make_shared<Mixture>(
        Mixture{rows_of(rows), n_used, d_model, d_ff, renormalise, gate, up, down, operand(x), operand(router),
                codes_of(codes), operand(slot_x), operand(gated), operand(lifted), operand(out_slots),
                codes_of(slot_codes), codes_of(hidden_codes), operand(out)});
    const size_t n = static_cast<size_t>(max_rows) * static_cast<size_t>(n_used);
    mixture->parts.reserve(gate.size());
    mixture->chosen.resize(n);
    mixture->slot.resize(n);
    mixture->share.resize(n);
    mixture->row.reserve(static_cast<size_t>(max_slots));
    for (const Stage stage :
         {Stage::kChoose, Stage::kSort, Stage::kCollect, Stage::kRaise, Stage::kJoin, Stage::kLower, Stage::kAdd})
        p.add(ExpertsOp{stage, mixture});
}

}  // namespace

void bind_ops(nb::class_<Program>& program) {
    program
        .def("beside", &Program::beside,
             "The next instruction need not wait for those before it: none of them writes what it reads or writes, or\n"
             "reads what it writes.")
        .def(
            "add_embed",
            [](Program& p, const Weight* table, Offset out, size_t stride) { p.add(EmbedOp{table, out, stride}); },
            "table"_a, "out"_a, "stride"_a)
        .def(
            "add_hidden", [](Program& p, int width, Offset out, size_t stride) { p.add(HiddenOp{width, out, stride}); },
            "width"_a, "out"_a, "stride"_a)
        .def(
            "add_gather",
            [](Program& p, int source_rows, int rows, Offset x, size_t x_stride, Offset out, size_t stride, int n) {
                p.add(GatherOp{rows_of(source_rows), rows_of(rows), x, x_stride, out, stride, n});
            },
            "source_rows"_a, "rows"_a, "x"_a, "x_stride"_a, "out"_a, "stride"_a, "n"_a)
        .def(
            "add_rows",
            [](Program& p, int verb, int rows, const Place& x, const Place& y, int n, int groups, float eps,
               float factor, std::vector<float> weight, Offset out, size_t out_stride, const CodePlace& codes) {
                p.add(RowOp{static_cast<RowVerb>(verb), rows_of(rows), operand(x), operand(y), n, groups, eps, factor,
                            std::move(weight), out, out_stride, codes_of(codes)});
            },
            "verb"_a, "rows"_a, "x"_a, "y"_a, "n"_a, "groups"_a, "eps"_a, "factor"_a, "weight"_a, "out"_a,
            "out_stride"_a, "codes"_a)
        .def("add_linear", &add_linear, "rows"_a, "x"_a, "x_stride"_a, "codes"_a, "weights"_a, "outs"_a, "strides"_a,
             "residuals"_a, "biases"_a)
        .def(
            "add_rope_table",
            [](Program& p, std::vector<double> frequencies, Offset out) {
                const int table = p.add_rope_table({std::move(frequencies), out});
                p.add(TableOp{table});
                return table;
            },
            "frequencies"_a, "out"_a)
        .def(
            "add_rope",
            [](Program& p, int rows, Offset x, Offset out, size_t stride, int n_heads, int head_dim, int neox,
               int table,
               float factor) { p.add(RopeOp{rows_of(rows), x, out, stride, n_heads, head_dim, neox, table, factor}); },
            "rows"_a, "x"_a, "out"_a, "stride"_a, "n_heads"_a, "head_dim"_a, "neox"_a, "table"_a, "factor"_a)
        .def(
            "add_kv_write",
            [](Program& p, int layer, Offset k, Offset k_out, size_t k_stride, Offset v, size_t v_stride,
               int n_kv_heads, int head_dim, int neox, int table) {
                p.add(KVWriteOp{
                    {Rows::kAll, k, k_out, k_stride, n_kv_heads, head_dim, neox, table, 1.0f}, v, v_stride, layer});
            },
            "layer"_a, "k"_a, "k_out"_a, "k_stride"_a, "v"_a, "v_stride"_a, "n_kv_heads"_a, "head_dim"_a, "neox"_a,
            "table"_a)
        .def(
            "add_attention",
            [](Program& p, int rows, int layer, Offset q, Offset out, size_t stride, int n_heads) {
                const AttentionOp op = {rows_of(rows), q, out, stride, n_heads, layer};
                p.add(op);
                p.add(CombineOp{op});
            },
            "rows"_a, "layer"_a, "q"_a, "out"_a, "stride"_a, "n_heads"_a)
        .def(
            "add_conv",
            [](Program& p, Offset x, size_t x_stride, Offset out, size_t out_stride, int layer, bool with_silu,
               std::vector<float> weight) {
                p.add(ConvOp{x, x_stride, out, out_stride, layer, with_silu, std::move(weight)});
            },
            "x"_a, "x_stride"_a, "out"_a, "out_stride"_a, "layer"_a, "with_silu"_a, "weight"_a)
        .def(
            "add_gated_delta",
            [](Program& p, const Place& q, const Place& k, const Place& v, const Place& decay, const Place& beta,
               const Place& out, int layer, bool tiled) {
                const DeltaOp op = {operand(q),    operand(k),   operand(v), operand(decay),
                                    operand(beta), operand(out), layer,      tiled};
                p.add(op);
                p.add(StageOp{op});
            },
            "q"_a, "k"_a, "v"_a, "decay"_a, "beta"_a, "out"_a, "layer"_a, "tiled"_a)
        .def("add_experts", &add_experts, "rows"_a, "max_rows"_a, "max_slots"_a, "n_used"_a, "renormalise"_a,
             "d_model"_a, "d_ff"_a, "gate"_a, "up"_a, "down"_a, "x"_a, "codes"_a, "router"_a, "slot_x"_a,
             "slot_codes"_a, "gated"_a, "lifted"_a, "hidden_codes"_a, "out_slots"_a, "out"_a);
}
