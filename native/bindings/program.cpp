// States and programs for Python: offsets and integers in, a filled workspace out.
#include "core/program.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <span>
#include <stdexcept>

#include "bindings/pages.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace outpace;

void bind_ops(nb::class_<Program>& program);

namespace {

using Floats = nb::ndarray<float, nb::numpy, nb::ndim<2>, nb::device::cpu>;
using Hidden = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;

// Channels, kernel, value heads, key heads, key width, value width.
using Recurrent = std::tuple<int, int, int, int, int, int>;

RecurrentShape shape_of(const Recurrent& given) {
    const auto [n_channels, kernel, n_heads, n_key_heads, key_dim, value_dim] = given;
    return {n_channels, kernel, n_heads, n_key_heads, key_dim, value_dim};
}

// Fields of a segment (outpace.graph.step.Segment) after its pages, where it has them.
void read_rest(const nb::tuple& parts, SegmentView& view) {
    int* const fields[] = {&view.slot, &view.n_draft, &view.n_pending, &view.first};
    for (size_t i = 0; i < std::size(fields) && 3 + i < parts.size(); ++i) *fields[i] = nb::cast<int>(parts[3 + i]);
}

// segments: (start, n_rows, page table, ...) for each sequence of the step.
void run(Program& program, const std::vector<int32_t>& tokens, nb::list segments, const std::vector<int32_t>& wanted,
         const std::vector<int32_t>& exported, const std::optional<Hidden>& hidden) {
    std::vector<SegmentView> views;
    std::vector<size_t> n_pages;
    PageTables tables;
    for (nb::handle segment : segments) {
        const nb::tuple parts = nb::borrow<nb::tuple>(segment);
        const std::span<const int32_t> pages = tables.open(parts[2]);
        views.push_back({nb::cast<int>(parts[0]), nb::cast<int>(parts[1]), pages.data()});
        read_rest(parts, views.back());
        n_pages.push_back(pages.size());
    }
    StepView step = {tokens, views, n_pages, wanted, exported};
    if (hidden) {
        if (hidden->shape(0) > 0 && hidden->stride(1) != 1)
            throw std::invalid_argument("the values of a hidden state do not lie side by side");
        step.hidden = hidden->data();
        step.hidden_rows = hidden->shape(0);
        step.hidden_width = hidden->shape(1);
        step.hidden_stride = static_cast<size_t>(hidden->stride(0));
    }
    nb::gil_scoped_release release;
    program.run(step);
}

}  // namespace

void bind_program(nb::module_& m) {
    m.def("codes_bytes", &codes_bytes, "rows"_a, "stride"_a, "Bytes of the integer codes of a value, scales left out.");
    m.def("scales_bytes", &scales_bytes, "rows"_a, "stride"_a, "Bytes of the scales of a value's integer codes.");
    m.def(
        "kv_page_bytes",
        [](int n_kv_heads, int head_dim, int kv_type) { return kv_page_bytes({n_kv_heads, head_dim}, kv_type); },
        "n_kv_heads"_a, "head_dim"_a, "kv_type"_a, "Bytes of one page of 64 positions of one layer.");

    m.def(
        "recurrent_bytes",
        [](const Recurrent& shape, int max_draft) { return recurrent_bytes(shape_of(shape), max_draft); }, "shape"_a,
        "max_draft"_a, "Bytes of one layer's state in one slot, with room for so many staged rows.");

    nb::class_<State>(m, "State", "What sequences carry between steps: pages of keys and values, recurrent states.")
        .def(
            "__init__",
            [](State* self, std::shared_ptr<Pool> pool, int n_pages, int kv_type,
               const std::vector<std::pair<int, int>>& kv, const std::vector<Recurrent>& recurrent, int n_slots,
               int max_draft) {
                StateSpec spec = {n_pages, kv_type, {}, {}, n_slots, max_draft};
                for (const auto& [n_kv_heads, head_dim] : kv) spec.kv.push_back({n_kv_heads, head_dim});
                for (const Recurrent& each : recurrent) spec.recurrent.push_back(shape_of(each));
                nb::gil_scoped_release release;
                new (self) State(std::move(pool), std::move(spec));
            },
            "pool"_a, "n_pages"_a, "kv_type"_a, "kv"_a, "recurrent"_a = std::vector<Recurrent>{}, "n_slots"_a = 0,
            "max_draft"_a = 0)
        .def("copy_page", &State::copy_page, "source"_a, "target"_a)
        .def("copy_slot", &State::copy_slot, "source"_a, "target"_a);

    nb::class_<Program> program(m, "Program", "A plan made flat; see outpace.backends.cpu.layout.");
    program
        .def(
            "__init__",
            [](Program* self, std::shared_ptr<WeightArena> weights, std::shared_ptr<State> state,
               std::shared_ptr<Memory> workspace, int max_rows, int max_exported, int max_wanted, Offset partial,
               int partial_rows, int partial_chunks, Offset scratch, size_t scratch_bytes) {
                nb::gil_scoped_release release;
                new (self) Program(std::move(weights), std::move(state), std::move(workspace),
                                   {max_rows, max_exported, max_wanted, partial, partial_rows, partial_chunks, scratch,
                                    scratch_bytes});
            },
            "weights"_a, "state"_a, "workspace"_a, "max_rows"_a, "max_exported"_a, "max_wanted"_a, "partial"_a,
            "partial_rows"_a, "partial_chunks"_a, "scratch"_a, "scratch_bytes"_a)
        .def("run", &run, "tokens"_a, "segments"_a, "wanted"_a, "exported"_a = std::vector<int32_t>{},
             "hidden"_a.none() = nb::none(), "Run one step.")
        .def("keep_peaks", &Program::keep_peaks, "at"_a,
             "From now on note the largest logits as they are made at this offset, for `Sampler.accept`; False if no\n"
             "linear verb makes them.")
        .def(
            "floats",
            [](Program& p, Offset at, size_t rows, size_t stride, size_t n) {
                if (at < 0 || static_cast<size_t>(at) + rows * stride * sizeof(float) > p.workspace_bytes())
                    throw std::invalid_argument("buffer out of range");
                const size_t shape[2] = {rows, n};
                const int64_t strides[2] = {static_cast<int64_t>(stride), 1};
                return Floats(p.floats(at), 2, shape, nb::find(p), strides);
            },
            "at"_a, "rows"_a, "stride"_a, "n"_a, "A view of a buffer of the workspace.")
        .def_prop_ro("last_run_s", &Program::last_run_s, "Seconds the last run took inside the native program.")
        .def_prop_ro("run_s", &Program::run_s, "Seconds that all runs took inside the native program.")
        .def("set_profile", &Program::set_profile, "on"_a)
        .def("profile", &Program::profile, "Seconds of each instruction since profiling was switched on.");
    bind_ops(program);
}
