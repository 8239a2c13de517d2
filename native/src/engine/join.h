// Pools of floats that are computed in one pass with the node before them.
#pragma once

#include <vector>

#include "engine/state.h"

namespace onebit {

struct NodeWires {
  std::vector<size_t> reads;           // values, some perhaps more than once
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

// Makes one op of each pool and the node before it where that node writes the pooled map and nothing else, no other
// node reads the map, and one pass is likely to be faster. The map then takes no memory.
void join_pools(Network& network, const Wires& wires, const std::vector<FloatPool>& pools);

}  // namespace onebit
