// Memory planning: values whose lifetimes do not overlap share memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace onebit {

// From the node that writes a value to the last node that reads it, both included.
struct Lifetime {
  static constexpr size_t kNothing = SIZE_MAX;

  size_t bytes, first, last;
  // An earlier value of the same size that this one may overwrite, because the node that writes it reads each element
  // of the earlier value before it writes the same element. It does if that node is the last to read the earlier value.
  size_t over = kNothing;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // of each value, multiples of a cache line
  size_t bytes = 0;
};

MemoryPlan plan_memory(std::vector<Lifetime> lifetimes);

}  // namespace onebit
