// Pools, packed weights and programs for Python: offsets and integers in, a filled workspace out.
#include "core/program.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <span>
#include <stdexcept>
#include <string_view>

#include "core/cpu.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace outpace;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::numpy, nb::ndim<2>, nb::device::cpu>;

Source source_of(int type, int n_rows, int n_cols, const Bytes& rows) {
    if (n_rows <= 0 || n_cols <= 0 || rows.size() % static_cast<size_t>(n_rows) != 0)
        throw std::invalid_argument("the bytes given are no whole number of rows");
    return {type, n_rows, n_cols, rows.data(), rows.size() / static_cast<size_t>(n_rows), nullptr, 0};
}

const Weight* pack(WeightArena& arena, int type, int n_rows, int n_cols, Bytes rows) {
    const Source source = source_of(type, n_rows, n_cols, rows);
    nb::gil_scoped_release release;
    return arena.pack({source}).front();
}

// One call for many matrices, so that Python can do something else meanwhile: between two calls it would have to wait
// for whoever is at work then.
std::vector<const Weight*> pack_all(WeightArena& arena,
                                    const std::vector<std::tuple<int, int, int, Bytes, std::optional<Bytes>>>& given) {
    std::vector<Source> sources;
    for (const auto& [type, n_rows, n_cols, rows, mapped] : given) {
        sources.push_back(source_of(type, n_rows, n_cols, rows));
        if (mapped) {
            sources.back().mapped = mapped->data();
            sources.back().mapped_bytes = mapped->size();
        }
    }
    nb::gil_scoped_release release;
    return arena.pack(sources);
}

// The page tables of a step as they lie in memory, let go of at its end. Python's own buffers, because they are the
// quickest to open and a step leaves nothing of what that takes in the caches.
class PageTables {
  public:
    PageTables() = default;
    PageTables(const PageTables&) = delete;
    PageTables& operator=(const PageTables&) = delete;
    ~PageTables() {
        for (Py_buffer& buffer : buffers_) PyBuffer_Release(&buffer);
    }

    std::span<const int32_t> open(nb::handle array) {
        Py_buffer buffer;
        if (PyObject_GetBuffer(array.ptr(), &buffer, PyBUF_ND | PyBUF_FORMAT) != 0) throw nb::python_error();
        buffers_.push_back(buffer);
        const std::string_view format = buffer.format ? buffer.format : "B";
        if (buffer.ndim != 1 || buffer.itemsize != sizeof(int32_t) || (format != "i" && format != "l"))
            throw nb::type_error("a page table is an array of int32");
        return {static_cast<const int32_t*>(buffer.buf), static_cast<size_t>(buffer.len) / sizeof(int32_t)};
    }

  private:
    std::vector<Py_buffer> buffers_;
};

// segments: (start, n_rows, page table) for each sequence of the step.
void run(Program& program, const std::vector<int32_t>& tokens, nb::list segments, const std::vector<int32_t>& wanted) {
    std::vector<SegmentView> views;
    std::vector<size_t> n_pages;
    PageTables tables;
    int first_row = 0;
    for (nb::handle segment : segments) {
        const nb::tuple parts = nb::borrow<nb::tuple>(segment);
        const int start = nb::cast<int>(parts[0]), n_rows = nb::cast<int>(parts[1]);
        const std::span<const int32_t> pages = tables.open(parts[2]);
        views.push_back({start, n_rows, first_row, pages.data()});
        n_pages.push_back(pages.size());
        first_row += n_rows;
    }
    nb::gil_scoped_release release;
    program.run(tokens, views, n_pages, wanted);
}

double read_bandwidth(const std::string& tier, Pool& pool, const Memory& memory) {
    const Kernels& kernels = kernels_for(tier);
    const size_t share = memory.size() / static_cast<size_t>(pool.size()) / 256 * 256;
    std::atomic<uint64_t> sink{0};
    const auto begin = std::chrono::steady_clock::now();
    pool.run(
        [&](int member) { sink += kernels.read_bytes(memory.data() + static_cast<size_t>(member) * share, share); });
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(share) * pool.size() / taken.count();
}

double integer_rate(const std::string& tier, Pool& pool, uint64_t rounds) {
    const Kernels& kernels = kernels_for(tier);
    std::atomic<uint64_t> done{0};
    const auto begin = std::chrono::steady_clock::now();
    pool.run([&](int) {
        int32_t sink[16];
        done += kernels.integer_rounds(rounds, sink);
    });
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(done.load()) / taken.count();
}

}  // namespace

void bind_program(nb::module_& m) {
    nb::class_<Pool>(m, "Pool", "A team of threads; the caller is one of them.")
        .def(
            "__init__",
            [](Pool* self, int n_threads) {
                if (n_threads < 1 || n_threads > 1024) throw std::invalid_argument("a pool has 1 to 1024 threads");
                new (self) Pool(n_threads);
            },
            "n_threads"_a)
        .def_prop_ro("size", &Pool::size);

    nb::class_<Memory>(m, "Memory", "Resident anonymous memory, zeroed.")
        .def(
            "__init__",
            [](Memory* self, size_t n_bytes) {
                nb::gil_scoped_release release;
                new (self) Memory(n_bytes);
                self->make_resident(0, n_bytes);
            },
            "n_bytes"_a)
        .def_prop_ro("size", &Memory::size);

    nb::class_<Weight>(m, "Weight", "One packed matrix.")
        .def_ro("type", &Weight::type)
        .def_ro("n_rows", &Weight::n_rows)
        .def_ro("n_cols", &Weight::n_cols);

    nb::class_<WeightArena>(m, "WeightArena", "Memory for all packed weights of a model.")
        .def(
            "__init__",
            [](WeightArena* self, const std::string& tier, std::shared_ptr<Pool> pool, size_t n_bytes) {
                nb::gil_scoped_release release;
                new (self) WeightArena(kernels_for(tier), std::move(pool), n_bytes);
            },
            "tier"_a, "pool"_a, "n_bytes"_a)
        .def("pack", &pack, "type"_a, "n_rows"_a, "n_cols"_a, "rows"_a, nb::rv_policy::reference_internal,
             "Pack a matrix from the bytes of its GGUF rows.")
        .def("pack_all", &pack_all, "sources"_a, nb::rv_policy::reference_internal,
             "Pack matrices: type, rows, columns, bytes, and pages of a mapped file that may leave memory after it.")
        .def(
            "unpack_row",
            [](WeightArena& self, const Weight& w, int row) {
                if (row < 0 || row >= w.n_rows) throw std::invalid_argument("row out of range");
                std::vector<float> out(static_cast<size_t>(w.n_cols));
                self.kernels().unpack_row(w.type, w.tiles + static_cast<size_t>(row / kTileRows) * w.tile_bytes,
                                          row % kTileRows, w.n_cols, out.data());
                return out;
            },
            "weight"_a, "row"_a);

    m.def(
        "packed_bytes",
        [](const std::string& tier, int type, int n_rows, int n_cols) {
            return WeightArena::packed_bytes(kernels_for(tier), type, n_rows, n_cols);
        },
        "tier"_a, "type"_a, "n_rows"_a, "n_cols"_a,
        "Bytes a matrix takes when packed; 0 when the type has no kernel or the width does not suit it.");
    m.def("codes_bytes", &codes_bytes, "rows"_a, "stride"_a, "Bytes of the integer codes of a value, scales left out.");
    m.def(
        "kv_page_bytes",
        [](int n_kv_heads, int head_dim, int kv_type) { return kv_page_bytes({n_kv_heads, head_dim}, kv_type); },
        "n_kv_heads"_a, "head_dim"_a, "kv_type"_a, "Bytes of one page of 64 positions of one layer.");
    m.def("read_bandwidth", &read_bandwidth, "tier"_a, "pool"_a, "memory"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Bytes a second at which the team reads the memory once.");
    m.def("integer_rate", &integer_rate, "tier"_a, "pool"_a, "rounds"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Multiply-adds of int8 a second from registers.");

    nb::class_<Program>(m, "Program", "A plan made flat; see outpace.backends.cpu.lower.")
        .def(
            "__init__",
            [](Program* self, std::shared_ptr<WeightArena> weights, int max_rows, int max_wanted, int n_pages,
               int kv_type, const std::vector<std::pair<int, int>>& kv, size_t workspace_bytes, Offset partial,
               int partial_rows, int partial_chunks, Offset scratch, size_t scratch_bytes) {
                ProgramSpec spec = {max_rows, max_wanted,   n_pages,        kv_type, {},           workspace_bytes,
                                    partial,  partial_rows, partial_chunks, scratch, scratch_bytes};
                for (const auto& [n_kv_heads, head_dim] : kv) spec.kv.push_back({n_kv_heads, head_dim});
                nb::gil_scoped_release release;
                new (self) Program(std::move(weights), std::move(spec));
            },
            "weights"_a, "max_rows"_a, "max_wanted"_a, "n_pages"_a, "kv_type"_a, "kv"_a, "workspace_bytes"_a,
            "partial"_a, "partial_rows"_a, "partial_chunks"_a, "scratch"_a, "scratch_bytes"_a)
        .def(
            "add_embed",
            [](Program& p, const Weight* table, Offset out, size_t stride) { p.add(EmbedOp{table, out, stride}); },
            "table"_a, "out"_a, "stride"_a)
        .def(
            "add_gather", [](Program& p, Offset x, Offset out, size_t stride) { p.add(GatherOp{x, out, stride}); },
            "x"_a, "out"_a, "stride"_a)
        .def(
            "add_rows",
            [](Program& p, int verb, int rows, Offset x, Offset y, size_t stride, int n, int groups, float factor,
               std::vector<float> weight, Offset out, Offset q, Offset scales) {
                p.add(RowOp{static_cast<RowVerb>(verb), static_cast<Rows>(rows), x, y, stride, n, groups, factor,
                            std::move(weight), out, q, scales});
            },
            "verb"_a, "rows"_a, "x"_a, "y"_a, "stride"_a, "n"_a, "groups"_a, "factor"_a, "weight"_a, "out"_a, "q"_a,
            "scales"_a)
        .def(
            "add_linear",
            [](Program& p, int rows, Offset x, Offset q, Offset scales, size_t in_stride,
               const std::vector<const Weight*>& weights, const std::vector<Offset>& outs,
               const std::vector<size_t>& strides, const std::vector<Offset>& residuals,
               std::vector<std::vector<float>> biases) {
                LinearOp op = {static_cast<Rows>(rows), x, q, scales, in_stride, {}, 0};
                for (size_t i = 0; i < weights.size(); ++i) {
                    op.parts.push_back(
                        {weights[i], outs.at(i), strides.at(i), residuals.at(i), std::move(biases.at(i))});
                    op.n_tiles += weights[i]->n_tiles();
                }
                p.add(std::move(op));
            },
            "rows"_a, "x"_a, "q"_a, "scales"_a, "in_stride"_a, "weights"_a, "outs"_a, "strides"_a, "residuals"_a,
            "biases"_a)
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
            [](Program& p, Offset x, Offset out, size_t stride, int n_heads, int head_dim, int neox, int table) {
                p.add(RopeOp{x, out, stride, n_heads, head_dim, neox, table, 1.0f});
            },
            "x"_a, "out"_a, "stride"_a, "n_heads"_a, "head_dim"_a, "neox"_a, "table"_a)
        .def(
            "add_kv_write",
            [](Program& p, int layer, Offset q, Offset q_out, size_t q_stride, int n_heads, Offset k, Offset k_out,
               Offset v, size_t kv_stride, int n_kv_heads, int head_dim, int neox, int q_table, int k_table,
               float scale) {
                p.add(KVWriteOp{{q, q_out, q_stride, n_heads, head_dim, neox, q_table, scale},
                                {k, k_out, kv_stride, n_kv_heads, head_dim, neox, k_table, 1.0f},
                                v,
                                kv_stride,
                                layer});
            },
            "layer"_a, "q"_a, "q_out"_a, "q_stride"_a, "n_heads"_a, "k"_a, "k_out"_a, "v"_a, "kv_stride"_a,
            "n_kv_heads"_a, "head_dim"_a, "neox"_a, "q_table"_a, "k_table"_a, "scale"_a)
        .def(
            "add_attention",
            [](Program& p, int layer, Offset q, Offset out, size_t stride, int n_heads, int head_dim) {
                p.add(AttentionOp{q, out, stride, n_heads, layer});
                p.add(CombineOp{out, stride, n_heads, head_dim});
            },
            "layer"_a, "q"_a, "out"_a, "stride"_a, "n_heads"_a, "head_dim"_a)
        .def("run", &run, "tokens"_a, "segments"_a, "wanted"_a, "Run one step.")
        .def("copy_page", &Program::copy_page, "source"_a, "target"_a)
        .def("keep_peaks", &Program::keep_peaks, "at"_a,
             "From now on note the largest logits as they are made at this offset, for `Sampler.accept`; False if no\n"
             "linear verb makes them.")
        .def(
            "floats",
            [](Program& p, Offset at, size_t rows, size_t stride, size_t n) {
                if (at < 0 || static_cast<size_t>(at) + rows * stride * sizeof(float) > p.spec().workspace_bytes)
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
}
