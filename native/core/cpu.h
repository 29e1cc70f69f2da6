// Which instruction sets this machine has, and which kernel tier serves it.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace outpace {

// Tiers compiled into this build, fastest first.
std::vector<std::string> built_tiers();

// Tiers this CPU can run, fastest first; never empty, `portable` comes last.
std::vector<std::string> supported_tiers();

// Kernels of a tier by name. Throws std::invalid_argument when the tier is not built or the CPU lacks it.
const Kernels& kernels_for(const std::string& tier);

}  // namespace outpace
