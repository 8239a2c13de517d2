// Runs a network, one image after the other, node by node.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "engine/state.h"

namespace onebit {
namespace {

constexpr size_t kLine = AlignedBytes::kAlignment;

size_t elements(Shape shape) { return shape.height * shape.width * shape.channels; }

}  // namespace

size_t bytes_of(const ValueInfo& value) {
  const Shape& s = value.shape;
  switch (value.type) {
    case ValueType::bits:
      return s.height * s.width * words_for(s.channels) * sizeof(uint32_t);
    case ValueType::uint8:
      return elements(s);
    case ValueType::float16:
      return elements(s) * sizeof(Half);
    case ValueType::float32:
      break;
  }
  return elements(s) * sizeof(float);
}

Engine::State::State(Network described)
    : network(std::move(described)), inner_values(network.values.begin() + 1, network.values.end()) {
  const size_t threads = network.options.threads, limit = network.options.max_memory;
  const MemoryPlan plan = plan_memory(network.lifetimes);
  size_t shared = 0, own = 0;
  for (const auto& op : network.ops) {
    shared = std::max(shared, op->scratch_bytes());
    own = std::max(own, op->worker_scratch_bytes());
  }
  shared = round_up(shared, kLine);
  own = round_up(own, kLine);
  sizes = {plan.bytes, shared + own * threads, network.store.bytes()};
  if (sizes.total() > limit) {
    throw std::invalid_argument("the network takes " + std::to_string(sizes.total()) + " bytes (values " +
                                std::to_string(sizes.values) + ", scratch " + std::to_string(sizes.scratch) +
                                ", weights " + std::to_string(sizes.weights) +
                                "), more than max_memory = " + std::to_string(limit));
  }
  Poll poll(network.options.poll);
  network.store.fill(poll);
  memory = AlignedBytes::raw(sizes.values + sizes.scratch);
  memory.clear(poll);
  for (const size_t offset : plan.offsets) values.push_back(memory.data() + offset);
  pixels_as_floats = values[0];
  scratch = memory.data() + plan.bytes;
  for (size_t worker = 0; worker < threads; ++worker) worker_scratch.push_back(scratch + shared + worker * own);
  crew = std::make_unique<PerProcess<Crew>>([threads] { return std::make_unique<Crew>(threads); });
}

void Engine::State::normalize(const uint8_t* image, ThreadPool& pool) {
  const Shape shape = network.values[0].shape;
  auto* out = reinterpret_cast<float*>(pixels_as_floats);
  pool.for_ranges(shape.height, [&](size_t begin, size_t end, size_t) {
    for (size_t i = begin * shape.width * shape.channels; i < end * shape.width * shape.channels;) {
      for (size_t c = 0; c < shape.channels; ++c, ++i) out[i] = network.pixel_table[256 * c + image[i]];
    }
  });
}

void Engine::State::run_image(float* result, int64_t* node_ns, ThreadPool& pool, Poll& poll) {
  const RunContext context{values.data(), {}, scratch, worker_scratch.data(), pool};
  auto last = Poll::Clock::now();
  for (size_t i = 0; i < network.ops.size(); ++i) {
    network.ops[i]->run(context);
    const auto now = Poll::Clock::now();
    if (node_ns) node_ns[i] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - last).count();
    last = poll.at(now) ? Poll::Clock::now() : now;
  }
  std::memcpy(result, values[network.output], bytes_of(network.values[network.output]));
}

template <class Pixel, class Show>
void Engine::State::run(const Pixel* images, size_t count, float* results, int64_t* node_ns, Show show) {
  Crew& mine = crew->get();
  const std::lock_guard<std::mutex> lock(mine.one_run_at_a_time);
  Poll poll(network.options.poll);
  for (size_t i = 0; i < count; ++i) {
    values[0] = show(images + i * elements(network.values[0].shape), mine.pool);
    run_image(results + i * elements(network.values[network.output].shape), node_ns, mine.pool, poll);
  }
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::~Engine() = default;

void Engine::run(const float* images, size_t count, float* results, int64_t* node_ns) {
  if (input_type() == ValueType::uint8) {
    throw std::invalid_argument("the network takes pixels (uint8); floats must be turned back into pixels first");
  }
  // Ops only read their input, so the value is the caller's memory.
  state_->run(images, count, results, node_ns, [](const float* image, ThreadPool&) {
    return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(image));
  });
}

void Engine::run(const uint8_t* images, size_t count, float* results, int64_t* node_ns) {
  state_->run(images, count, results, node_ns, [&](const uint8_t* image, ThreadPool& pool) {
    if (input_type() == ValueType::uint8) return const_cast<uint8_t*>(image);  // read only, as above
    state_->normalize(image, pool);
    return state_->pixels_as_floats;
  });
}

Isa Engine::isa() const { return state_->network.isa; }
size_t Engine::threads() const { return state_->network.options.threads; }
Shape Engine::input_shape() const { return state_->network.values[0].shape; }
ValueType Engine::input_type() const { return state_->network.values[0].type; }
Shape Engine::output_shape() const { return state_->network.values[state_->network.output].shape; }
const std::vector<NodeInfo>& Engine::nodes() const { return state_->network.nodes; }
const std::vector<ValueInfo>& Engine::values() const { return state_->inner_values; }
Memory Engine::memory() const { return state_->sizes; }

const void* Engine::value(size_t index) const {
  if (!state_->network.options.keep_values) {
    throw std::invalid_argument("values share their memory; build the engine with keep_values to read them");
  }
  if (index >= state_->inner_values.size()) {
    throw std::invalid_argument("no value " + std::to_string(index) + "; the network has " +
                                std::to_string(state_->inner_values.size()));
  }
  return state_->values[index + 1];
}

}  // namespace onebit
