// Fusion of pools with the node that computes their input.
#include "engine/join.h"

namespace onebit {
namespace {

void join(Network& network, const Wires& wires, const FloatPool& pool) {
  const size_t value = pool.map.value.index, source = network.lifetimes[value].first;
  if (value == 0 || source + 1 != pool.node || wires.readers[value] > 1 || !network.ops[source]->by_rows()) return;
  const NodeWires &writer = wires.nodes[source], &reader = wires.nodes[pool.node];
  if (writer.last - writer.first_written > 1 || !fits_pooled(pool.map, network.options.threads)) return;
  // The inputs of the source are now alive until the pool has written its last element.
  for (const size_t read : writer.reads) {
    Lifetime& life = network.lifetimes[read];
    if (life.last == source) life.last = pool.node;
  }
  for (size_t written = reader.first_written; written < reader.last; ++written) {
    network.lifetimes[written].over = Lifetime::kNothing;
  }
  network.lifetimes[value] = {0, source, pool.node};
  network.nodes[pool.node].kernel = "with " + network.nodes[source].name;
  network.ops[source] = make_pooled(std::move(network.ops[source]), std::move(network.ops[pool.node]), pool.map);
  network.ops[pool.node] = make_nothing();
}

}  // namespace

void join_pools(Network& network, const Wires& wires, const std::vector<FloatPool>& pools) {
  for (const FloatPool& pool : pools) join(network, wires, pool);
}

}  // namespace onebit
