// Where each value of a network lies, so that values which are never alive together share memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace onebit {

// A value is alive from the node that writes it to the last node that reads it, both included.
struct Lifetime {
  static constexpr size_t kNothing = SIZE_MAX;

  size_t bytes, first, last;
  // An earlier value of as many bytes whose place this one may take: the node that writes this one has read each
  // element of the other before it writes the same one here. Done where that node is the last to read it.
  size_t over = kNothing;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // one for each lifetime, multiples of a cache line
  size_t bytes = 0;
};

MemoryPlan plan_memory(std::vector<Lifetime> lifetimes);

}  // namespace onebit
