// Threads, memory and packed weights for Python, and what the machine can do at best.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <stdexcept>

#include "core/cpu.h"
#include "core/weight.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace outpace;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

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

void bind_arena(nb::module_& m) {
    nb::class_<Pool>(m, "Pool", "A team of threads; the caller is one of them.")
        .def(
            "__init__",
            [](Pool* self, int n_threads) {
                if (n_threads < 1 || n_threads > 1024) throw std::invalid_argument("a pool has 1 to 1024 threads");
                new (self) Pool(n_threads);
            },
            "n_threads"_a)
        .def_prop_ro("size", &Pool::size);

    nb::class_<Memory>(m, "Memory",
                       "Resident anonymous memory, zeroed; brought in by a team of threads if one is given.")
        .def(
            "__init__",
            [](Memory* self, size_t n_bytes, std::shared_ptr<Pool> pool) {
                nb::gil_scoped_release release;
                new (self) Memory(n_bytes);
                if (pool)
                    self->make_resident(*pool);
                else
                    self->make_resident(0, n_bytes);
            },
            "n_bytes"_a, "pool"_a.none() = nb::none())
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
        .def("reserve", &WeightArena::reserve, "type"_a, "n_rows"_a, "n_cols"_a, nb::rv_policy::reference_internal,
             "A matrix of zeros, to be filled by `take_rows`.")
        .def(
            "take_rows",
            [](WeightArena& self, const Weight& target, int at, const Weight& source, const std::vector<int32_t>& ids) {
                nb::gil_scoped_release release;
                self.take_rows(target, at, source, ids);
            },
            "target"_a, "at"_a, "source"_a, "ids"_a,
            "Write rows of one matrix over those of another from `at` on, rounded to its type, Q4_0.")
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
    m.def("read_bandwidth", &read_bandwidth, "tier"_a, "pool"_a, "memory"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Bytes a second at which the team reads the memory once.");
    m.def("integer_rate", &integer_rate, "tier"_a, "pool"_a, "rounds"_a, nb::call_guard<nb::gil_scoped_release>(),
          "Multiply-adds of int8 a second from registers.");
}
