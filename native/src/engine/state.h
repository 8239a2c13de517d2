// The state of an engine, and the network that the builder hands over to it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/process.h"
#include "base/thread_pool.h"
#include "engine/memory_plan.h"
#include "onebit/engine.h"
#include "ops/op.h"

namespace onebit {

// Values and nodes in execution order; value 0 is the input.
struct Network {
  std::vector<ValueInfo> values;
  std::vector<Lifetime> lifetimes;
  std::vector<NodeInfo> nodes;
  Store store;  // of the ops
  std::vector<std::unique_ptr<Op>> ops;
  const float* pixel_table = nullptr;  // [channels][256]: normalized pixel values
  size_t output = 0;
  Isa isa = Isa::portable;
  Options options;
};

size_t bytes_of(const ValueInfo& value);

// What every process needs its own of.
struct Crew {
  explicit Crew(size_t threads) : pool(threads) {}

  std::mutex one_run_at_a_time;
  ThreadPool pool;
};

struct Engine::State {
  explicit State(Network described);

  Network network;
  std::vector<ValueInfo> inner_values;  // all but the input
  Memory sizes;
  AlignedBytes memory;                  // values, then shared scratch, then the scratch of each worker
  std::vector<uint8_t*> values;         // address of each value
  uint8_t* pixels_as_floats = nullptr;  // the normalized input
  uint8_t* scratch = nullptr;
  std::vector<uint8_t*> worker_scratch;
  std::unique_ptr<PerProcess<Crew>> crew;

  // Runs images one after the other; show(image, pool) returns the address of the input value.
  template <class Pixel, class Show>
  void run(const Pixel* images, size_t count, float* results, int64_t* node_ns, Show show);
  void normalize(const uint8_t* image, ThreadPool& pool);
  void run_image(float* result, int64_t* node_ns, ThreadPool& pool, Poll& poll);
};

}  // namespace onebit
