// The table of kernels that one tier exports. Plain C types only: nothing here may carry inline code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outpace {

struct Kernels {
    const char* tier;
};

}  // namespace outpace
