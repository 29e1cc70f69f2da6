#include "core/memory.h"

#include <sys/mman.h>

#include <new>

#include "core/pool.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace outpace {

Memory::Memory(size_t bytes) : size_(bytes ? bytes : 1) {
    void* p = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<uint8_t*>(p);
#ifdef MADV_HUGEPAGE
    madvise(p, size_, MADV_HUGEPAGE);
#endif
}

void Memory::make_resident(size_t begin, size_t end) {
    constexpr size_t kPageBytes = 4096;
    begin = begin / kPageBytes * kPageBytes;
    // Older kernels lack the call; then pages come at first touch, later but with the same total.
    if (begin < end && end <= size_) madvise(data_ + begin, end - begin, MADV_POPULATE_WRITE);
}

void Memory::make_resident(Pool& pool) {
    pool.run([&](int member) {
        const size_t share = size_ / static_cast<size_t>(pool.size()), i = static_cast<size_t>(member);
        make_resident(share * i, member + 1 == pool.size() ? size_ : share * (i + 1));
    });
}

Memory::~Memory() { munmap(data_, size_); }

}  // namespace outpace
