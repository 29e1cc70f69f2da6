#include "core/cpu.h"

#include <algorithm>
#include <stdexcept>

namespace outpace {

const Kernels& kernels_portable();
#if defined(__x86_64__)
const Kernels& kernels_avx2();
const Kernels& kernels_avxvnni();
const Kernels& kernels_avx512();
#endif

namespace {

struct Tier {
    const char* name;
    const Kernels& (*kernels)();
    bool supported;
};

std::vector<Tier> tiers() {
    std::vector<Tier> all;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    unsigned eax = 7, ebx = 0, ecx = 1, edx = 0;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    const bool avxvnni = avx2 && (eax & (1u << 4)) != 0;
    all.push_back({"avx512", kernels_avx512, avx512});
    all.push_back({"avxvnni", kernels_avxvnni, avxvnni});
    all.push_back({"avx2", kernels_avx2, avx2});
#endif
    all.push_back({"portable", kernels_portable, true});
    return all;
}

}  // namespace

std::vector<std::string> built_tiers() {
    std::vector<std::string> names;
    for (const Tier& tier : tiers()) names.emplace_back(tier.name);
    return names;
}

std::vector<std::string> supported_tiers() {
    std::vector<std::string> names;
    for (const Tier& tier : tiers())
        if (tier.supported) names.emplace_back(tier.name);
    return names;
}

const Kernels& kernels_for(const std::string& name) {
    for (const Tier& tier : tiers()) {
        if (name != tier.name) continue;
        if (!tier.supported) throw std::invalid_argument("this CPU cannot run the kernel tier '" + name + "'");
        return tier.kernels();
    }
    throw std::invalid_argument("there is no kernel tier '" + name + "' in this build");
}

}  // namespace outpace
