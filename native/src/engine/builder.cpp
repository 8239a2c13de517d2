// Checks a network as it is described, node by node, and turns it into ops.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <unordered_map>

#include "engine/state.h"
#include "engine/tuning.h"
#include "ops/conv_plan.h"

namespace onebit {
namespace {

constexpr size_t kMaxSide = 65536;
constexpr size_t kMaxElements = size_t{1} << 28;
constexpr size_t kMaxTerms = size_t{1} << 30;  // of one sum: twice as many still fit an int32
constexpr size_t kMaxTaps = size_t{1} << 24;   // of a pool
constexpr size_t kMaxZeroPaddedKernel = 512;
constexpr size_t kMaxInt8Side = 16;                // of a kernel: the tables of its borders stay small
constexpr size_t kMaxInt8Terms = size_t{1} << 15;  // of a sum of int8 times uint8, with room for its start
constexpr int32_t kMaxZero = 255 * 256;
constexpr size_t kMaxReshapedBlock = 16;
constexpr size_t kMaxConcat = 16;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw std::invalid_argument(where + ": " + what);
}

void require(bool holds, const std::string& where, const std::string& what) {
  if (!holds) refuse(where, what);
}

std::string text(Shape s) {
  return std::to_string(s.height) + "x" + std::to_string(s.width) + "x" + std::to_string(s.channels);
}

std::string text(Pair p) { return std::to_string(p.vertical) + "x" + std::to_string(p.horizontal); }

std::string text(const Convolution& g) {
  return "to " + std::to_string(g.out_channels) + " kernel " + text(g.kernel) + " stride " + text(g.stride) +
         " padding " + text(g.padding) + " dilation " + text(g.dilation) + " groups " + std::to_string(g.groups);
}

std::string text(const ReshapedConvolution& g) {
  return "to " + std::to_string(g.out_channels) + " block " + std::to_string(g.block) + " upscale " +
         std::to_string(g.upscale) + " roll " + std::to_string(g.roll);
}

const char* text(ValueType type) {
  switch (type) {
    case ValueType::bits:
      return "bits";
    case ValueType::uint8:
      return "uint8";
    case ValueType::float16:
      return "float16";
    case ValueType::float32:
      break;
  }
  return "float32";
}

// Of a layer that reads the value: it has to widen halves first.
std::string precision(ValueRef value) { return value.half ? " of float16" : ""; }

// The product of the factors, refused where it passes `limit`; factors are at most 2^32, so nothing overflows.
size_t bounded_product(const std::string& where, const char* what, std::initializer_list<size_t> factors,
                       size_t limit) {
  size_t product = 1;
  for (const size_t factor : factors) {
    require(factor <= limit && product <= limit / std::max<size_t>(factor, 1), where,
            std::string(what) + " exceed " + std::to_string(limit));
    product *= factor;
  }
  return product;
}

void check_shape(const std::string& where, Shape s) {
  for (const size_t side : {s.height, s.width, s.channels}) {
    require(side >= 1 && side <= kMaxSide, where, "shape " + text(s) + " has a side outside 1 ... 65536");
  }
  bounded_product(where, "elements", {s.height, s.width, s.channels}, kMaxElements);
}

void check_pair(const std::string& where, const char* what, Pair pair, size_t lowest) {
  for (const size_t side : {pair.vertical, pair.horizontal}) {
    require(side >= lowest && side <= kMaxSide, where,
            std::string(what) + " " + std::to_string(side) + " is outside " + std::to_string(lowest) + " ... 65536");
  }
}

template <class T>
void check_length(const std::string& where, const char* what, const std::vector<T>& table, size_t wanted) {
  require(table.size() == wanted, where,
          std::string(what) + " has " + std::to_string(table.size()) + " entries, needs " + std::to_string(wanted));
}

void check_convolution(const std::string& where, const Convolution& g, Shape input) {
  check_pair(where, "kernel", g.kernel, 1);
  check_pair(where, "stride", g.stride, 1);
  check_pair(where, "padding", g.padding, 0);
  check_pair(where, "dilation", g.dilation, 1);
  require(g.groups >= 1 && input.channels % g.groups == 0 && g.out_channels % g.groups == 0, where,
          "groups = " + std::to_string(g.groups) + " must divide " + std::to_string(input.channels) + " inputs and " +
              std::to_string(g.out_channels) + " outputs");
  require(g.out_channels >= 1 && g.out_channels <= kMaxSide, where, "out_channels is outside 1 ... 65536");
  bounded_product(where, "terms of a sum",
                  {g.kernel.vertical, g.kernel.horizontal, round_up(input.channels / g.groups, kWordBits)}, kMaxTerms);
  bounded_product(where, "elements of the padded input",
                  {input.height + 2 * g.padding.vertical, input.width + 2 * g.padding.horizontal,
                   g.groups * round_up(input.channels / g.groups, kWordBits)},
                  kMaxTerms);
}

void check_rpc(const std::string& where, const ReshapedConvolution& g, Shape input) {
  require(g.block >= 1 && g.block <= kMaxReshapedBlock, where,
          "block " + std::to_string(g.block) + " is outside 1 ... 16");
  require(g.upscale == 1 || g.upscale == 2, where, "upscale " + std::to_string(g.upscale) + " is not 1 or 2");
  require(g.roll <= 1, where, "roll " + std::to_string(g.roll) + " is not 0 or 1");
  require(g.roll == 0 || g.block == g.upscale, where, "roll needs block = upscale");
  require(g.out_channels >= 1 && g.out_channels <= kMaxSide, where, "out_channels is outside 1 ... 65536");
  require(g.out_channels % (g.upscale * g.upscale) == 0, where,
          "out_channels = " + std::to_string(g.out_channels) + " must be a multiple of upscale^2");
  const size_t depth = round_up(input.channels, kWordBits);
  bounded_product(where, "terms of a sum", {g.block, g.block, depth}, kMaxTerms);
  bounded_product(where, "elements of the padded input",
                  {round_up(input.height, g.block), round_up(input.width, g.block), depth}, kMaxTerms);
}

void check_pooling(const std::string& where, const Pooling& g, Shape input) {
  check_pair(where, "kernel", g.kernel, 1);
  check_pair(where, "stride", g.stride, 1);
  check_pair(where, "padding", g.padding, 0);
  require(2 * g.padding.vertical <= g.kernel.vertical && 2 * g.padding.horizontal <= g.kernel.horizontal, where,
          "padding of a pool may be half of its kernel at most");
  bounded_product(where, "taps of a pool", {g.kernel.vertical, g.kernel.horizontal}, kMaxTaps);
  bounded_product(where, "elements of the padded input",
                  {input.height + 2 * g.padding.vertical, input.width + 2 * g.padding.horizontal, input.channels},
                  kMaxTerms);
}

Shape rpc_result(const ReshapedConvolution& g, Shape input) {
  const Pair size = rpc_output(g, input);
  return {size.vertical, size.horizontal, g.out_channels / (g.upscale * g.upscale)};
}

// Bits past the last channel would count as differing channels.
void check_unused_bits(const std::string& where, const char* what, const std::vector<uint32_t>& words,
                       size_t channels) {
  if (channels % kWordBits == 0) return;
  const size_t per_row = words_for(channels);
  for (size_t i = per_row - 1; i < words.size(); i += per_row) {
    require(words[i] >> (channels % kWordBits) == 0, where, std::string(what) + " has a 1 in an unused bit");
  }
}

}  // namespace

Step Step::affine(std::vector<float> scale, std::vector<float> bias) {
  Step step;
  step.kind = Kind::affine;
  step.first = std::move(scale);
  step.second = std::move(bias);
  return step;
}

Step Step::slopes(std::vector<float> positive, std::vector<float> negative) {
  Step step = affine(std::move(positive), std::move(negative));
  step.kind = Kind::slopes;
  return step;
}

Step Step::clamp(float low, float high) {
  Step step;
  step.kind = Kind::clamp;
  step.low = low;
  step.high = high;
  return step;
}

Step Step::add(std::string input) {
  Step step;
  step.kind = Kind::add;
  step.value = std::move(input);
  return step;
}

Step Step::levels(float low, float high, Rule rule) {
  Step step = clamp(low, high);
  step.kind = Kind::levels;
  step.rule = rule;
  return step;
}

Step Step::binarize(std::string output, Rule rule, std::vector<float> threshold) {
  Step step;
  step.kind = Kind::binarize;
  step.value = std::move(output);
  step.rule = rule;
  step.first = std::move(threshold);
  return step;
}

Step Step::threshold(std::string output, std::vector<int32_t> below, std::vector<uint32_t> flip) {
  Step step;
  step.kind = Kind::threshold;
  step.value = std::move(output);
  step.below = std::move(below);
  step.flip = std::move(flip);
  return step;
}

Step Step::store(std::string output, ValueType type) {
  Step step;
  step.value = std::move(output);
  step.type = type;
  return step;
}

struct Builder::State {
  Network network;
  Kernels kernels;
  std::unordered_map<std::string, size_t> index;
  std::vector<size_t> read_values;                   // by the node that is being added
  std::vector<size_t> reads;                         // how often each value is read
  std::vector<std::pair<size_t, PooledMap>> pooled;  // nodes that pool floats

  size_t node() const { return network.nodes.size(); }  // of the node that is being added

  size_t add_value(const std::string& where, const std::string& name, ValueType type, Shape shape) {
    require(!name.empty(), where, "a value needs a name");
    require(index.emplace(name, network.values.size()).second, where, "value '" + name + "' is written twice");
    network.values.push_back({name, type, shape});
    network.lifetimes.push_back({bytes_of(network.values.back()), node(), node()});
    reads.push_back(0);
    return network.values.size() - 1;
  }

  size_t read(const std::string& where, const std::string& name, ValueType type) {
    const auto found = index.find(name);
    require(found != index.end(), where, "no value '" + name + "' was written before");
    const ValueInfo& value = network.values[found->second];
    require(value.type == type, where, "value '" + name + "' holds " + text(value.type) + ", needs " + text(type));
    network.lifetimes[found->second].last = node();
    read_values.push_back(found->second);
    ++reads[found->second];
    return found->second;
  }

  // A value of floats of either type.
  ValueRef read_floats(const std::string& where, const std::string& name) {
    const auto found = index.find(name);
    const bool half = found != index.end() && network.values[found->second].type == ValueType::float16;
    return {read(where, name, half ? ValueType::float16 : ValueType::float32), half};
  }

  Shape shape(size_t value) const { return network.values[value].shape; }

  // `positions`: how many times a step's tables hold the entries of all channels.
  void check_tables(const std::string& where, const Step& step, bool integers, size_t channels,
                    size_t positions) const {
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
        check_unused_bits(where, "flip", step.flip, channels);
        break;
      default:
        break;
    }
  }

  // Checks the steps behind an op whose result has this shape, and makes the values that they write.
  Epilogue epilogue(const std::string& where, const std::vector<Step>& steps, Shape result, bool integers,
                    size_t positions = 1) {
    check_shape(where, result);
    std::vector<ValueRef> values;
    const std::vector<size_t> inputs = read_values;
    size_t added = Lifetime::kNothing, stored = Lifetime::kNothing;  // the last to be so, in that order
    bool writes = false;
    for (const Step& step : steps) {
      check_tables(where, step, integers, result.channels, positions);
      ValueRef value;
      if (step.kind == Step::Kind::add) {
        value = read_floats(where, step.value);
        require(text(shape(value.index)) == text(result), where,
                "add: value '" + step.value + "' is " + text(shape(value.index)) + ", needs " + text(result));
        added = value.index;
        stored = Lifetime::kNothing;
      } else if (step.kind == Step::Kind::store) {
        require(step.type == ValueType::float32 || step.type == ValueType::float16, where,
                std::string("store: its type is ") + text(step.type) + ", needs float32 or float16");
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
    // The op itself may read any element of its inputs at any time.
    const bool is_input = std::find(inputs.begin(), inputs.end(), added) != inputs.end();
    if (stored != Lifetime::kNothing && !is_input) network.lifetimes[stored].over = added;
    return Epilogue(*kernels.epilogue, steps, values, result.channels, positions);
  }

  void add_node(const std::string& name, const char* op, Shape result, std::unique_ptr<Op> made) {
    read_values.clear();
    network.nodes.push_back({name, op, made->kernel(), result, made->macs()});
    network.ops.push_back(std::move(made));
  }

  // The same for a layer that several kernels can compute, of which make(input, kernels, epilogue) makes an op: with
  // those `chosen` or, with Options::tune, with the fastest of the table. `family`: the member of Kernels that the
  // table is for; `layer`: all that tells it from others of its shapes.
  template <class Kernel, class Table, class Make>
  void add_node(const std::string& name, const char* op, Shape result, const Kernel* Kernels::* family,
                const Table& table, const std::string& layer, size_t input, Epilogue steps, size_t positions,
                Kernels chosen, Make make) {
    if (network.options.tune) {
      const auto candidates = candidates_for(network.isa, table);
      std::vector<std::string> names;
      for (const Kernel* kernel : candidates) names.push_back(kernel->name);
      const auto make_alone = [&](size_t candidate) {
        chosen.*family = candidates[candidate];
        return make(0, chosen,
                    Epilogue(*kernels.epilogue, {Step::store("result")}, {ValueRef{1}}, result.channels, positions));
      };
      const std::string key =
          std::string(onebit::name(network.isa)) + " " + op + " " + text(shape(input)) + " " + layer;
      const size_t result_bytes = bytes_of({"", ValueType::float32, result});
      chosen.*family = candidates[fastest({key, bytes_of(network.values[input]), result_bytes}, names, make_alone)];
    }
    add_node(name, op, result, make(input, chosen, std::move(steps)));
  }

  // A pool of floats: make(map, epilogue) makes its op.
  template <class Make>
  void add_pool(const std::string& name, const char* op, const std::string& input, const Pooling& geometry,
                const std::vector<Step>& epilogue, Make make) {
    const ValueRef value = read_floats(name, input);
    const PooledMap map{value, shape(value.index), geometry};
    check_pooling(name, geometry, map.shape);
    const Pair size = pooling_output(geometry, map.shape);
    const Shape result{size.vertical, size.horizontal, map.shape.channels};
    Epilogue steps = this->epilogue(name, epilogue, result, false);
    pooled.push_back({node(), map});
    add_node(name, op, result, make(map, std::move(steps)));
  }

  // Makes one op of a pool and of the node before it, where that writes the pooled map alone and no other wants it.
  void join(size_t pool, const PooledMap& map) {
    const size_t value = map.value.index, source = network.lifetimes[value].first;
    if (value == 0 || source + 1 != pool || reads[value] > 1 || !network.ops[source]->by_rows()) return;
    const auto is_written = [&](const Lifetime& life) { return life.first == source; };
    const auto inner = network.lifetimes.begin() + 1;  // the input is written by no node
    if (std::count_if(inner, network.lifetimes.end(), is_written) > 1) return;
    if (!fits_pooled(map, network.options.threads)) return;
    // Now what the source reads is wanted until the pool has written its last element.
    for (Lifetime& life : network.lifetimes) {
      if (life.last == source) life.last = pool;
      if (life.first == pool) life.over = Lifetime::kNothing;
    }
    network.lifetimes[value] = {0, source, pool};
    network.nodes[pool].kernel = "with " + network.nodes[source].name;
    network.ops[source] =
        make_pooled(std::move(network.ops[source]), std::move(network.ops[pool]), map, network.values.size());
    network.ops[pool] = make_nothing();
  }
};

Builder::Builder(const std::string& input, Shape shape, std::vector<float> mean, std::vector<float> std,
                 Options options, ValueType input_type)
    : state_(std::make_unique<State>()) {
  check_shape("input", shape);
  check_length("input", "mean", mean, shape.channels);
  check_length("input", "std", std, shape.channels);
  require(options.threads >= 1 && options.threads <= ThreadPool::kMaxThreads, "threads",
          std::to_string(options.threads) + " is outside 1 ... 1024");
  Network& network = state_->network;
  network.isa = choose_isa(options.isa);
  network.options = std::move(options);
  state_->kernels = kernels_for(network.isa);
  require(input_type == ValueType::float32 || input_type == ValueType::uint8, "input",
          std::string("its type is ") + text(input_type) + ", needs float32 or uint8");
  state_->add_value("input", input, input_type, shape);
  for (size_t c = 0; c < shape.channels; ++c) {
    require(std[c] > 0 && std::isfinite(std[c]) && std::isfinite(mean[c]), "input", "std must be above 0, mean finite");
    for (int pixel = 0; pixel < 256; ++pixel) {
      network.pixel_table.push_back((static_cast<float>(pixel) / 255.0f - mean[c]) / std[c]);
    }
  }
}

Builder::~Builder() = default;
Builder::Builder(Builder&&) noexcept = default;

void Builder::binary_conv2d(const std::string& name, const std::string& input, const Convolution& geometry,
                            int pad_value, const std::vector<uint32_t>& weight, const std::vector<Step>& epilogue,
                            size_t shuffle) {
  const size_t value = state_->read(name, input, ValueType::bits);
  const Shape shape = state_->shape(value);
  check_convolution(name, geometry, shape);
  require(pad_value >= -1 && pad_value <= 1, name, "pad_value " + std::to_string(pad_value) + " is not -1, 0 or 1");
  // Padding with 0 is put right by a table of all the ways in which the kernel can stick out of the map.
  require(pad_value != 0 || std::max(geometry.kernel.vertical, geometry.kernel.horizontal) <= kMaxZeroPaddedKernel,
          name, "with pad_value 0 the sides of a kernel may be 512 at most");
  require(
      shuffle >= 1 && geometry.out_channels % shuffle == 0, name,
      "shuffle = " + std::to_string(shuffle) + " must divide " + std::to_string(geometry.out_channels) + " outputs");
  const size_t depth = shape.channels / geometry.groups;
  check_length(name, "weight", weight,
               geometry.out_channels * geometry.kernel.vertical * geometry.kernel.horizontal * words_for(depth));
  check_unused_bits(name, "weight", weight, depth);
  const Pair size = convolution_output(geometry, shape);
  const Shape result{size.vertical, size.horizontal, geometry.out_channels};
  Epilogue steps = state_->epilogue(name, epilogue, result, true);
  state_->add_node(name, "binary_conv2d", result, &Kernels::binary_conv, kBinaryConvKernels,
                   text(geometry) + " pad " + std::to_string(pad_value), value, std::move(steps), 1,
                   kernels_for(state_->network.isa, ConvPlan::neighbors(geometry) * words_for(depth)),
                   [&](size_t from, const Kernels& kernels, Epilogue behind) {
                     return make_binary_conv2d(kernels, shape, from, geometry, pad_value, weight, shuffle,
                                               std::move(behind));
                   });
}

void Builder::binary_rpc2d(const std::string& name, const std::string& input, const ReshapedConvolution& geometry,
                           int pad_value, const std::vector<uint32_t>& weight, const std::vector<Step>& epilogue) {
  const size_t value = state_->read(name, input, ValueType::bits);
  const Shape shape = state_->shape(value);
  check_rpc(name, geometry, shape);
  require(pad_value == -1 || pad_value == 1, name, "pad_value " + std::to_string(pad_value) + " is not -1 or 1");
  check_length(name, "weight", weight,
               geometry.out_channels * geometry.block * geometry.block * words_for(shape.channels));
  check_unused_bits(name, "weight", weight, shape.channels);
  const Shape result = rpc_result(geometry, shape);
  Epilogue steps = state_->epilogue(name, epilogue, result, true, geometry.upscale * geometry.upscale);
  state_->add_node(name, "binary_rpc2d", result, &Kernels::binary_conv, kBinaryConvKernels, text(geometry), value,
                   std::move(steps), geometry.upscale * geometry.upscale,
                   kernels_for(state_->network.isa, geometry.block * words_for(shape.channels)),
                   [&](size_t from, const Kernels& kernels, Epilogue behind) {
                     return make_binary_rpc2d(kernels, shape, from, geometry, pad_value, weight, std::move(behind));
                   });
}

void Builder::rpc2d(const std::string& name, const std::string& input, const ReshapedConvolution& geometry,
                    const std::vector<float>& weight, const std::vector<Step>& epilogue) {
  const ValueRef value = state_->read_floats(name, input);
  const Shape shape = state_->shape(value.index);
  check_rpc(name, geometry, shape);
  check_length(name, "weight", weight, geometry.out_channels * geometry.block * geometry.block * shape.channels);
  const Shape result = rpc_result(geometry, shape);
  Epilogue steps = state_->epilogue(name, epilogue, result, false, geometry.upscale * geometry.upscale);
  state_->add_node(name, "rpc2d", result, &Kernels::float_conv, kFloatConvKernels, text(geometry) + precision(value),
                   value.index, std::move(steps), geometry.upscale * geometry.upscale, state_->kernels,
                   [&](size_t from, const Kernels& kernels, Epilogue behind) {
                     return make_rpc2d(kernels, shape, {from, value.half}, geometry, weight, std::move(behind));
                   });
}

void Builder::conv2d(const std::string& name, const std::string& input, const Convolution& geometry,
                     const std::vector<float>& weight, const std::vector<Step>& epilogue) {
  const ValueRef value = state_->read_floats(name, input);
  const Shape shape = state_->shape(value.index);
  check_convolution(name, geometry, shape);
  check_length(name, "weight", weight,
               geometry.out_channels * geometry.kernel.vertical * geometry.kernel.horizontal *
                   (shape.channels / geometry.groups));
  const Pair size = convolution_output(geometry, shape);
  const Shape result{size.vertical, size.horizontal, geometry.out_channels};
  Epilogue steps = state_->epilogue(name, epilogue, result, false);
  state_->add_node(name, "conv2d", result, &Kernels::float_conv, kFloatConvKernels, text(geometry) + precision(value),
                   value.index, std::move(steps), 1, state_->kernels,
                   [&](size_t from, const Kernels& kernels, Epilogue behind) {
                     return make_conv2d(kernels, shape, {from, value.half}, geometry, weight, std::move(behind));
                   });
}

void Builder::int8_conv2d(const std::string& name, const std::string& input, const Convolution& geometry,
                          const std::vector<int8_t>& weight, const std::vector<int32_t>& zero,
                          const std::vector<float>& scale, const std::vector<Step>& epilogue) {
  const size_t value = state_->read(name, input, ValueType::uint8);
  const Shape shape = state_->shape(value);
  check_convolution(name, geometry, shape);
  const size_t depth = geometry.kernel.vertical * geometry.kernel.horizontal * (shape.channels / geometry.groups);
  require(geometry.kernel.vertical <= kMaxInt8Side && geometry.kernel.horizontal <= kMaxInt8Side, name,
          "kernel sides of an int8 convolution may be 16 at most");
  require(depth <= kMaxInt8Terms, name, "terms of a sum exceed " + std::to_string(kMaxInt8Terms));
  check_length(name, "weight", weight, geometry.out_channels * depth);
  check_length(name, "zero", zero, shape.channels);
  check_length(name, "scale", scale, geometry.out_channels);
  for (const int8_t w : weight) require(w >= -127, name, "weight -128 is outside -127 ... 127");
  for (const int32_t z : zero) {
    require(z >= 0 && z <= kMaxZero, name, "zero " + std::to_string(z) + " is outside 0 ... 65280");
  }
  const Pair size = convolution_output(geometry, shape);
  const Shape result{size.vertical, size.horizontal, geometry.out_channels};
  Epilogue steps = state_->epilogue(name, epilogue, result, false);
  state_->add_node(name, "int8_conv2d", result, &Kernels::int8_conv, kInt8ConvKernels, text(geometry), value,
                   std::move(steps), 1, state_->kernels, [&](size_t from, const Kernels& kernels, Epilogue behind) {
                     return make_int8_conv2d(kernels, shape, from, geometry, weight, zero, scale, std::move(behind));
                   });
}

void Builder::conv2d_bits(const std::string& name, const std::string& input, const Convolution& geometry,
                          const std::vector<uint32_t>& weight_bits, const std::vector<Step>& epilogue) {
  const Shape shape = state_->shape(state_->read_floats(name, input).index);
  check_convolution(name, geometry, shape);
  const size_t depth = shape.channels / geometry.groups, words = words_for(depth);
  const size_t rows = geometry.out_channels * geometry.kernel.vertical * geometry.kernel.horizontal;
  check_length(name, "weight_bits", weight_bits, rows * words);
  check_unused_bits(name, "weight_bits", weight_bits, depth);
  std::vector<float> weight;
  weight.reserve(rows * depth);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t c = 0; c < depth; ++c) {
      const uint32_t word = weight_bits[row * words + c / kWordBits];
      weight.push_back(word >> (c % kWordBits) & 1 ? -1.0f : 1.0f);
    }
  }
  conv2d(name, input, geometry, weight, epilogue);
}

void Builder::max_pool2d(const std::string& name, const std::string& input, const Pooling& geometry,
                         const std::vector<Step>& epilogue) {
  state_->add_pool(name, "max_pool2d", input, geometry, epilogue, make_max_pool2d);
}

void Builder::avg_pool2d(const std::string& name, const std::string& input, const Pooling& geometry,
                         bool count_include_pad, const std::vector<Step>& epilogue) {
  state_->add_pool(name, "avg_pool2d", input, geometry, epilogue, [&](const PooledMap& map, Epilogue steps) {
    return make_avg_pool2d(map, count_include_pad, std::move(steps));
  });
}

void Builder::bit_max_pool2d(const std::string& name, const std::string& input, const Pooling& geometry,
                             const std::vector<uint32_t>& flip, const std::vector<Step>& epilogue) {
  const size_t value = state_->read(name, input, ValueType::bits);
  const Shape shape = state_->shape(value);
  check_pooling(name, geometry, shape);
  check_length(name, "flip", flip, words_for(shape.channels));
  check_unused_bits(name, "flip", flip, shape.channels);
  const Pair size = pooling_output(geometry, shape);
  const Shape result{size.vertical, size.horizontal, shape.channels};
  check_shape(name, result);
  require(epilogue.size() == 1 && epilogue[0].kind == Step::Kind::store && epilogue[0].type == ValueType::float32, name,
          "its epilogue must be one store without a type");
  const size_t output = state_->add_value(name, epilogue[0].value, ValueType::bits, result);
  state_->add_node(name, "bit_max_pool2d", result, make_bit_max_pool2d(shape, value, geometry, flip, output));
}

void Builder::elementwise(const std::string& name, const std::string& input, const std::vector<Step>& epilogue) {
  const ValueRef value = state_->read_floats(name, input);
  const Shape shape = state_->shape(value.index);
  Epilogue steps = state_->epilogue(name, epilogue, shape, false);
  state_->add_node(name, "elementwise", shape, make_elementwise(shape, value, std::move(steps)));
}

void Builder::flatten(const std::string& name, const std::string& input, const std::vector<Step>& epilogue) {
  const ValueRef value = state_->read_floats(name, input);
  const Shape shape = state_->shape(value.index);
  const Shape result{1, 1, shape.height * shape.width * shape.channels};
  Epilogue steps = state_->epilogue(name, epilogue, result, false);
  state_->add_node(name, "flatten", result, make_flatten(shape, value, std::move(steps)));
}

void Builder::pad_channels(const std::string& name, const std::string& input, size_t before, size_t after,
                           const std::vector<Step>& epilogue) {
  const ValueRef value = state_->read_floats(name, input);
  const Shape shape = state_->shape(value.index);
  require(before <= kMaxSide && after <= kMaxSide, name, "before and after may be 65536 at most");
  const Shape result{shape.height, shape.width, before + shape.channels + after};
  Epilogue steps = state_->epilogue(name, epilogue, result, false);
  state_->add_node(name, "pad_channels", result, make_pad_channels(shape, value, before, after, std::move(steps)));
}

void Builder::shuffle_channels(const std::string& name, const std::string& input, size_t groups,
                               const std::vector<Step>& epilogue) {
  const ValueRef value = state_->read_floats(name, input);
  const Shape shape = state_->shape(value.index);
  require(groups >= 1 && shape.channels % groups == 0, name,
          "groups = " + std::to_string(groups) + " must divide " + std::to_string(shape.channels) + " channels");
  Epilogue steps = state_->epilogue(name, epilogue, shape, false);
  state_->add_node(name, "shuffle_channels", shape, make_shuffle_channels(shape, value, groups, std::move(steps)));
}

void Builder::concat(const std::string& name, const std::vector<std::string>& inputs,
                     const std::vector<Step>& epilogue) {
  require(!inputs.empty() && inputs.size() <= kMaxConcat, name,
          std::to_string(inputs.size()) + " inputs are outside 1 ... 16");
  std::vector<ValueRef> values;
  std::vector<Shape> shapes;
  Shape result;
  for (const std::string& input : inputs) {
    values.push_back(state_->read_floats(name, input));
    shapes.push_back(state_->shape(values.back().index));
    const Shape& shape = shapes.back();
    require(shape.height == shapes[0].height && shape.width == shapes[0].width, name,
            "value '" + input + "' is " + text(shape) + ", needs the height and width of " + text(shapes[0]));
    result = {shape.height, shape.width, result.channels + shape.channels};
  }
  Epilogue steps = state_->epilogue(name, epilogue, result, false);
  state_->add_node(name, "concat", result, make_concat(shapes, values, std::move(steps)));
}

std::unique_ptr<Engine> Builder::finish(const std::string& output) {
  Network& network = state_->network;
  require(!network.nodes.empty(), "finish", "the network has no nodes");
  network.output = state_->read("output", output, ValueType::float32);
  if (network.options.keep_values) {
    for (Lifetime& life : network.lifetimes) life = {life.bytes, 0, state_->node()};
  } else {
    for (const auto& [node, map] : state_->pooled) state_->join(node, map);
  }
  auto state = std::make_unique<Engine::State>(std::move(network));
  state_ = std::make_unique<State>();
  return std::unique_ptr<Engine>(new Engine(std::move(state)));
}

}  // namespace onebit
