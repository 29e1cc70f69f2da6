// One stretch of anonymous memory, on huge pages where the system has them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outpace {

class Pool;

class Memory {
  public:
    // Throws std::bad_alloc when the system refuses. Zeroed; resident as it is touched, or by `make_resident`.
    explicit Memory(size_t bytes);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    // Brings the bytes [begin, end) in now; several threads may share the work.
    void make_resident(size_t begin, size_t end);
    // Brings all in, every thread of the team a share.
    void make_resident(Pool& pool);

    uint8_t* data() const { return data_; }
    size_t size() const { return size_; }

  private:
    uint8_t* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace outpace
