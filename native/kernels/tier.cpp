// Compiled once per instruction set: everything below lives in an unnamed namespace, so no symbol built with
// wider instructions can be picked by the linker for a machine without them.
#include "kernels/kernels.h"
#include "kernels/simd.h"

#define OUTPACE_JOIN2(a, b) a##b
#define OUTPACE_JOIN(a, b) OUTPACE_JOIN2(a, b)
#define OUTPACE_STR2(a) #a
#define OUTPACE_STR(a) OUTPACE_STR2(a)

namespace outpace {

const Kernels& OUTPACE_JOIN(kernels_, OUTPACE_TIER)();

const Kernels& OUTPACE_JOIN(kernels_, OUTPACE_TIER)() {
    static const Kernels table = {
        .tier = OUTPACE_STR(OUTPACE_TIER),
    };
    return table;
}

}  // namespace outpace
