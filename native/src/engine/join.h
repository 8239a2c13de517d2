// Fusion of pools with the node that computes their input.
#pragma once

#include <vector>

#include "engine/state.h"

namespace onebit {

struct NodeWires {
  std::vector<size_t> reads;           // values, possibly repeated
  size_t first_written = 0, last = 0;  // half-open
};

struct Wires {
  std::vector<NodeWires> nodes;
  std::vector<size_t> readers;  // how often each value is read
};

// A node that pools a map of floats.
struct FloatPool {
  size_t node;
  PooledMap map;
};

// Replaces the op of a pool and that of the node before it by one op, where that node writes the pooled map and nothing
// else, no other node reads the map, and this is likely to be faster. The map then needs no memory.
void join_pools(Network& network, const Wires& wires, const std::vector<FloatPool>& pools);

}  // namespace onebit
