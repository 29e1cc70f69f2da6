#include "core/memory.h"

#include <sys/mman.h>

#include <new>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace outpace {

Memory::Memory(size_t bytes, bool resident) : size_(bytes ? bytes : 1) {
    void* p = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<uint8_t*>(p);
#ifdef MADV_HUGEPAGE
    madvise(p, size_, MADV_HUGEPAGE);
#endif
    // Older kernels lack the call; then pages come at first touch, later but with the same total.
    if (resident) madvise(p, size_, MADV_POPULATE_WRITE);
}

Memory::~Memory() { munmap(data_, size_); }

}  // namespace outpace
