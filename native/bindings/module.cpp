// The door between Python and the native core: types in, types out, nothing else.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "core/cpu.h"

namespace nb = nanobind;
using namespace nb::literals;

void bind_arena(nb::module_& m);
void bind_program(nb::module_& m);
void bind_sample(nb::module_& m);
void bind_suffix(nb::module_& m);

NB_MODULE(_native, m) {
    m.doc() = "Native core: kernel tiers, thread pool, programs.";
    m.def("built_tiers", &outpace::built_tiers, "Kernel tiers compiled into this build, fastest first.");
    m.def("supported_tiers", &outpace::supported_tiers, "Kernel tiers this CPU can run, fastest first.");
    bind_arena(m);
    bind_program(m);
    bind_sample(m);
    bind_suffix(m);
}
