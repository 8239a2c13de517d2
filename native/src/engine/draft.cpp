// A network under construction.
#include "engine/draft.h"

#include <algorithm>

namespace onebit {

Draft::Draft(Options options) : poll_(options.poll) {
  require(options.threads >= 1 && options.threads <= ThreadPool::kMaxThreads, "threads",
          std::to_string(options.threads) + " is outside 1 ... 1024");
  network_.isa = choose_isa(options.isa);
  network_.store = Store(options.max_memory);
  network_.options = std::move(options);
  kernels_ = kernels_for(network_.isa);
}

void Draft::add_input(const std::string& name, ValueType type, Shape shape) {
  network_.store.set_user("input");
  add_value("input", name, type, shape);
  current_.first_written = 1;  // no node writes it
}

size_t Draft::add_value(const std::string& where, const std::string& name, ValueType type, Shape shape) {
  require(!name.empty(), where, "a value needs a name");
  const size_t value = network_.values.size();
  if (!index_.emplace(name, value).second) refuse(where, "value '" + name + "' is written twice");
  network_.values.push_back({name, type, shape});
  network_.lifetimes.push_back({bytes_of(network_.values.back()), node(), node()});
  wires_.readers.push_back(0);
  current_.last = value + 1;
  return value;
}

size_t Draft::read(const std::string& where, const std::string& name, ValueType type) {
  if (current_.reads.empty()) network_.store.set_user(where);
  const auto found = index_.find(name);
  if (found == index_.end()) refuse(where, "no value '" + name + "' was written before");
  const ValueInfo& value = network_.values[found->second];
  if (value.type != type) {
    refuse(where, "value '" + name + "' holds " + text(value.type) + ", needs " + text(type));
  }
  network_.lifetimes[found->second].last = node();
  current_.reads.push_back(found->second);
  ++wires_.readers[found->second];
  return found->second;
}

ValueRef Draft::read_floats(const std::string& where, const std::string& name) {
  const auto found = index_.find(name);
  const bool half = found != index_.end() && network_.values[found->second].type == ValueType::float16;
  return {read(where, name, half ? ValueType::float16 : ValueType::float32), half};
}

void Draft::check_tables(const std::string& where, const Step& step, bool integers, size_t channels, size_t positions) {
  const size_t entries = positions * channels;
  switch (step.kind) {
    case Step::Kind::affine:
    case Step::Kind::slopes:
      check_length(where, "first table of a step", step.first, entries);
      check_length(where, "second table of a step", step.second, entries);
      break;
    case Step::Kind::binarize:
      if (!step.first.empty()) check_length(where, "threshold", step.first, entries);
      break;
    case Step::Kind::threshold:
      require(integers, where, "threshold stands only behind a binary convolution");
      check_length(where, "below", step.below, entries);
      check_length(where, "flip", step.flip, positions * words_for(channels));
      check_once("flip", step.flip, channels, [&] { check_unused_bits(where, "flip", step.flip, channels); });
      break;
    default:
      break;
  }
}

Epilogue Draft::epilogue(const std::string& where, const std::vector<Step>& steps, Shape result, bool integers,
                         size_t positions) {
  check_shape(where, result);
  std::vector<ValueRef> values;
  const size_t inputs = current_.reads.size();                     // those of the op itself
  size_t added = Lifetime::kNothing, stored = Lifetime::kNothing;  // by the last add and the first store after it
  bool writes = false;
  for (const Step& step : steps) {
    check_tables(where, step, integers, result.channels, positions);
    ValueRef value;
    if (step.kind == Step::Kind::add) {
      value = read_floats(where, step.value);
      const Shape other = shape(value.index);
      if (other.height != result.height || other.width != result.width || other.channels != result.channels) {
        refuse(where, "add: value '" + step.value + "' is " + text(other) + ", needs " + text(result));
      }
      added = value.index;
      stored = Lifetime::kNothing;
    } else if (step.kind == Step::Kind::store) {
      if (step.type != ValueType::float32 && step.type != ValueType::float16) {
        refuse(where, std::string("store: its type is ") + text(step.type) + ", needs float32 or float16");
      }
      stored = value.index = add_value(where, step.value, step.type, result);
      value.half = step.type == ValueType::float16;
    } else if (step.kind == Step::Kind::binarize || step.kind == Step::Kind::threshold) {
      value.index = add_value(where, step.value, ValueType::bits, result);
    }
    require(step.kind != Step::Kind::threshold || steps.size() == 1, where, "threshold must be the only step");
    writes |= value.index != 0 && step.kind != Step::Kind::add;
    values.push_back(value);
  }
  require(writes, where, "the epilogue writes no value");
  // A value cannot be stored over an input of the op, which may read any element of it at any time.
  const auto first = current_.reads.begin(), last = first + static_cast<ptrdiff_t>(inputs);
  if (stored != Lifetime::kNothing && std::find(first, last, added) == last) network_.lifetimes[stored].over = added;
  return Epilogue(*kernels_.epilogue, store(), steps, values, result.channels, positions);
}

void Draft::add_node(const std::string& name, const char* op, Shape result, std::unique_ptr<Op> made) {
  network_.nodes.push_back({name, op, made->kernel(), result, made->macs()});
  network_.ops.push_back(std::move(made));
  wires_.nodes.push_back(std::move(current_));
  current_ = {{}, network_.values.size(), network_.values.size()};
}

TuningProblem Draft::problem(const Layer& layer) const {
  const std::string key =
      std::string(name(network_.isa)) + " " + layer.op + " " + text(shape(layer.input)) + " " + layer.text;
  return {key, bytes_of(network_.values[layer.input]), bytes_of({"", ValueType::float32, layer.result}),
          network_.options.max_memory};
}

Network Draft::finish(const std::string& output) {
  require(!network_.nodes.empty(), "finish", "the network has no nodes");
  network_.output = read("output", output, ValueType::float32);
  if (network_.options.keep_values) {
    for (Lifetime& life : network_.lifetimes) life = {life.bytes, 0, node()};
  } else {
    join_pools(network_, wires_, pools_);
  }
  Network finished = std::move(network_);
  *this = Draft();
  return finished;
}

}  // namespace onebit
