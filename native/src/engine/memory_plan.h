// Where each value of a network lies, so that values which are never alive together share memory.
#pragma once

#include <cstddef>
#include <vector>

namespace onebit {

// A value is alive from the node that writes it to the last node that reads it, both included.
struct Lifetime {
  size_t bytes, first, last;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // one for each lifetime, multiples of a cache line
  size_t bytes = 0;
};

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes);

}  // namespace onebit
