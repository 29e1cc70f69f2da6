// Page tables as Python gives them.
#pragma once

#include <nanobind/nanobind.h>

#include <span>
#include <string_view>
#include <vector>

namespace outpace {

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

    std::span<const int32_t> open(nanobind::handle array) {
        Py_buffer buffer;
        if (PyObject_GetBuffer(array.ptr(), &buffer, PyBUF_ND | PyBUF_FORMAT) != 0) throw nanobind::python_error();
        buffers_.push_back(buffer);
        const std::string_view format = buffer.format ? buffer.format : "B";
        if (buffer.ndim != 1 || buffer.itemsize != sizeof(int32_t) || (format != "i" && format != "l"))
            throw nanobind::type_error("a page table is an array of int32");
        return {static_cast<const int32_t*>(buffer.buf), static_cast<size_t>(buffer.len) / sizeof(int32_t)};
    }

  private:
    std::vector<Py_buffer> buffers_;
};

}  // namespace outpace
