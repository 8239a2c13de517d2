// Fuzzes the builder and the engine with libFuzzer: the input bytes describe a small network with arbitrary arguments,
// which is built through the public interface and run. The only exception allowed is std::invalid_argument.
#include "onebit/engine.h"

#include <algorithm>
#include <limits>
#include <random>
#include <stdexcept>

using namespace onebit;

namespace {

constexpr size_t kMostNodes = 8;
constexpr size_t kMostElements = size_t{1} << 16;  // of a table, a weight or a value, so that a run stays short
constexpr size_t kMostWork = size_t{1} << 26;      // multiplications and results of a network that runs

// Consumes the input from its front; returns zeros after its end.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), size_(size), random_(1) {}

  bool at_end() const { return at_ >= size_; }
  size_t below(size_t count) { return byte() % count; }
  bool rarely() { return byte() > 250; }
  bool flip() { return byte() & 1; }

  // Mostly a number in [low, high]; rarely an invalid one.
  size_t number(size_t low, size_t high) {
    static constexpr size_t kWild[] = {
        0, 65535, 65536, 65537, size_t{1} << 31, size_t{1} << 32, size_t{1} << 40, size_t{1} << 62, ~size_t{0}};
    if (!rarely()) return low + below(high - low + 1);
    wild_ = true;
    return kWild[below(std::size(kWild))];
  }
  bool wild() const { return wild_; }  // an invalid number has been returned

  Pair pair(size_t low, size_t high) {
    const size_t vertical = number(low, high);
    return {vertical, number(low, high)};
  }

  float real() {
    static constexpr float kReals[] = {0.0f, -0.0f, 1.0f, -1.0f, 0.5f, 1e30f, -1e38f, 1e-45f, 3e38f, -7.0f};
    return rarely() ? kReals[1] / kReals[0] : kReals[below(std::size(kReals))];  // 0/0: NaN
  }

  // `count` random words or floats; rarely a few more or fewer.
  template <class T>
  std::vector<T> table(size_t count) {
    if (rarely()) count = number(0, 40);
    std::vector<T> out(std::min(count, kMostElements));
    for (T& x : out) {
      x = static_cast<T>(random_());
      if constexpr (std::is_floating_point_v<T>) x = x / 2147483648.0f - 1.0f;
    }
    if (!out.empty() && rarely()) out[below(out.size())] = extreme<T>();
    return out;
  }

  // Rows of packed bits, whose unused bits are mostly 0.
  std::vector<uint32_t> bits(size_t rows, size_t channels) {
    const size_t words = (channels + 31) / 32;
    auto out = table<uint32_t>(rows * words);
    if (channels % 32 == 0 || words == 0 || rarely()) return out;
    for (size_t i = words - 1; i < out.size(); i += words) out[i] &= (1u << channels % 32) - 1;
    return out;
  }

 private:
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }

  template <class T>
  T extreme() {
    if constexpr (std::is_floating_point_v<T>) return real();
    return flip() ? std::numeric_limits<T>::max() : std::numeric_limits<T>::min();
  }

  const uint8_t* data_;
  size_t size_, at_ = 0;
  std::mt19937 random_;
  bool wild_ = false;
};

struct Value {
  std::string name;
  Shape shape;
};

size_t elements(Shape s) { return s.height * s.width * s.channels; }

// A network under construction: the values written so far, and methods that add the next node.
class Network {
 public:
  Network(Choices& choices, Builder builder, Value input, ValueType type)
      : c_(choices), builder_(std::move(builder)), input_(std::move(input)), pixels_(type == ValueType::uint8) {
    if (!pixels_) floats_.push_back(input_);
  }

  std::unique_ptr<Engine> finish() {
    if (floats_.empty()) return builder_.finish(last_name());
    builder_.elementwise("end", wire(floats_.back()), {Step::store("result")});
    return builder_.finish(c_.rarely() ? any_name() : "result");
  }

  void add_node() {
    if (pixels_ ? floats_.empty() || c_.below(8) == 0 : c_.rarely()) {
      int8_conv2d();
      return pool_last();
    }
    const Value& real = floats_[c_.below(floats_.size())];
    const Value& low = bits_.empty() ? real : bits_[c_.below(bits_.size())];
    switch (c_.below(16)) {
      case 0:
        return add(real.shape, [&](auto& steps) { builder_.elementwise("elementwise", wire(real), steps); });
      case 1:
        return binary_conv2d(low);
      case 2:
        conv2d(real);
        return pool_last();
      case 3:
        return rpc2d(low, true);
      case 4:
        return rpc2d(real, false);
      case 5:
      case 6:
      case 7:
        return pool(c_.flip() && !bits_.empty() ? low : real);
      case 8:
        return add({1, 1, elements(real.shape)}, [&](auto& steps) { builder_.flatten("flatten", wire(real), steps); });
      case 9: {
        const size_t before = c_.number(0, 40), after = c_.number(0, 40);
        const Shape result{real.shape.height, real.shape.width, real.shape.channels + before + after};
        return add(result, [&](auto& steps) { builder_.pad_channels("pad", wire(real), before, after, steps); });
      }
      case 10: {
        const size_t groups = divisor(real.shape.channels);
        return add(real.shape, [&](auto& steps) { builder_.shuffle_channels("shuffle", wire(real), groups, steps); });
      }
      case 11:
        return gather2d(real);
      case 12: {
        const size_t block = c_.number(1, 3), area = std::max<size_t>(block * block, 1);
        const Shape result{real.shape.height * block, real.shape.width * block, real.shape.channels / area};
        return add(result, [&](auto& steps) { builder_.depth_to_space("wide", wire(real), block, steps); });
      }
      case 13: {
        const size_t block = c_.number(1, 3), side = std::max<size_t>(block, 1);
        const Shape result{real.shape.height / side, real.shape.width / side, real.shape.channels * block * block};
        return add(result, [&](auto& steps) { builder_.space_to_depth("deep", wire(real), block, steps); });
      }
      default:
        return concat(real);
    }
  }

 private:
  std::string any_name() { return c_.flip() ? "nothing" : bits_.empty() ? "" : bits_.back().name; }
  const std::string& last_name() const { return floats_.empty() ? input_.name : floats_.back().name; }
  std::string wire(const Value& value) { return c_.rarely() ? any_name() : value.name; }

  size_t divisor(size_t number) {
    const size_t wished = c_.number(1, 8);
    return c_.wild() || number % wished == 0 ? wished : 1;
  }

  static size_t side(size_t length, size_t kernel, size_t stride, size_t padding, size_t dilation) {
    const size_t reach = dilation * (kernel - 1) + 1;
    return length + 2 * padding < reach || stride == 0 ? 0 : (length + 2 * padding - reach) / stride + 1;
  }

  Convolution geometry(Shape in, Shape* result) {
    Convolution g;
    g.kernel = c_.pair(1, 4);
    g.stride = c_.pair(1, 3);
    g.padding = c_.pair(0, 3);
    g.dilation = c_.pair(1, 3);
    g.groups = divisor(in.channels);
    g.out_channels = g.groups * c_.number(1, 80);
    *result = {side(in.height, g.kernel.vertical, g.stride.vertical, g.padding.vertical, g.dilation.vertical),
               side(in.width, g.kernel.horizontal, g.stride.horizontal, g.padding.horizontal, g.dilation.horizontal),
               g.out_channels};
    return g;
  }

  void gather2d(const Value& in) {
    const auto some = [&](size_t length) {
      std::vector<int32_t> indices(c_.flip() ? 0 : std::min<size_t>(c_.number(1, 40), 70000));
      for (int32_t& index : indices) index = static_cast<int32_t>(c_.below(length + 1)) - 1 + (c_.rarely() ? 1 : 0);
      return indices;
    };
    const auto rows = some(in.shape.height), columns = some(in.shape.width), channels = some(in.shape.channels);
    const auto side = [](const std::vector<int32_t>& indices, size_t all) {
      return indices.empty() ? all : indices.size();
    };
    const Shape result{side(rows, in.shape.height), side(columns, in.shape.width), side(channels, in.shape.channels)};
    add(result, [&](auto& s) { builder_.gather2d("gather", wire(in), rows, columns, channels, 0.5f, s); });
  }

  void binary_conv2d(const Value& in) {
    Shape result;
    const Convolution g = geometry(in.shape, &result);
    const int pad_value = static_cast<int>(c_.number(0, 2) - 1);
    const size_t shuffle = divisor(g.out_channels), depth = in.shape.channels / std::max<size_t>(g.groups, 1);
    const auto weight = c_.bits(g.out_channels * g.kernel.vertical * g.kernel.horizontal, depth);
    add(result, [&](auto& s) { builder_.binary_conv2d("bits", wire(in), g, pad_value, weight, s, shuffle); }, 1, true);
  }

  void conv2d(const Value& in) {
    Shape result;
    const Convolution g = geometry(in.shape, &result);
    const size_t rows = g.out_channels * g.kernel.vertical * g.kernel.horizontal;
    const size_t depth = in.shape.channels / std::max<size_t>(g.groups, 1);
    if (c_.flip()) {
      const auto weight = c_.bits(rows, depth);
      add(result, [&](auto& steps) { builder_.conv2d_bits("signs", wire(in), g, weight, steps); });
    } else {
      const auto weight = c_.table<float>(rows * depth);
      add(result, [&](auto& steps) { builder_.conv2d("real", wire(in), g, weight, steps); });
    }
  }

  void int8_conv2d() {
    Shape result;
    const Convolution g = geometry(input_.shape, &result);
    const size_t rows = g.out_channels * g.kernel.vertical * g.kernel.horizontal;
    const size_t depth = input_.shape.channels / std::max<size_t>(g.groups, 1);
    auto weight = c_.table<int8_t>(rows * depth);
    auto zero = c_.table<int32_t>(input_.shape.channels);
    if (!c_.rarely()) {
      for (int8_t& w : weight) w = std::max<int8_t>(w, -127);
      for (int32_t& z : zero) z = static_cast<int32_t>(static_cast<uint32_t>(z) % (255 * 256 + 1));
    }
    const auto scale = c_.table<float>(g.out_channels);
    add(result, [&](auto& steps) { builder_.int8_conv2d("pixels", wire(input_), g, weight, zero, scale, steps); });
  }

  void rpc2d(const Value& in, bool binary) {
    ReshapedConvolution g;
    g.upscale = c_.number(1, 2);
    g.block = c_.flip() ? g.upscale : c_.number(1, 16);
    g.roll = g.block == g.upscale ? c_.number(0, 1) : 0;
    g.out_channels = g.upscale * g.upscale * c_.number(1, 70);
    const size_t block = std::max<size_t>(g.block, 1), positions = g.upscale * g.upscale;
    const Shape result{(in.shape.height * g.upscale + block - 1) / block,
                       (in.shape.width * g.upscale + block - 1) / block,
                       g.out_channels / std::max<size_t>(positions, 1)};
    const size_t rows = g.out_channels * g.block * g.block;
    if (binary) {
      const auto weight = c_.bits(rows, in.shape.channels);
      const int pad_value = c_.rarely() ? 0 : c_.flip() ? 1 : -1;
      add(
          result, [&](auto& s) { builder_.binary_rpc2d("blocks", wire(in), g, pad_value, weight, s); }, positions,
          true);
    } else {
      const auto weight = c_.table<float>(rows * in.shape.channels);
      add(result, [&](auto& s) { builder_.rpc2d("real_blocks", wire(in), g, weight, s); }, positions);
    }
  }

  // Often pools the last value immediately, so that no other node reads it and both nodes may be fused.
  void pool_last() {
    if (floats_.empty() || c_.flip()) return;
    const size_t count = floats_.size();
    pool(floats_.back());
    if (floats_.size() > count) floats_.erase(floats_.begin() + static_cast<std::ptrdiff_t>(count) - 1);
  }

  void pool(const Value& in) {
    const Pooling g{c_.pair(1, 6), c_.pair(1, 3), c_.pair(0, 2)};
    const Shape result{side(in.shape.height, g.kernel.vertical, g.stride.vertical, g.padding.vertical, 1),
                       side(in.shape.width, g.kernel.horizontal, g.stride.horizontal, g.padding.horizontal, 1),
                       in.shape.channels};
    if (&in >= floats_.data() && &in < floats_.data() + floats_.size()) {
      const size_t kind = c_.below(3);
      return add(result, [&](auto& steps) {
        if (kind == 2) return builder_.max_pool2d("maximum", wire(in), g, steps);
        builder_.avg_pool2d("mean", wire(in), g, kind == 1, steps);
      });
    }
    if (!small(result)) return;
    const std::string output = fresh();
    builder_.bit_max_pool2d("bit_pool", wire(in), g, c_.bits(1, in.shape.channels), {Step::store(output)});
    bits_.push_back({output, result});
  }

  void concat(const Value& first) {
    std::vector<std::string> names;
    Shape result = first.shape;
    result.channels = 0;
    for (size_t i = c_.number(1, 4); i > 0 && names.size() < 20; --i) {
      const Value& other = floats_[c_.below(floats_.size())];
      const bool fits = other.shape.height == result.height && other.shape.width == result.width;
      const Value& next = fits || c_.rarely() ? other : first;
      names.push_back(wire(next));
      result.channels += next.shape.channels;
    }
    add(result, [&](auto& steps) { builder_.concat("join", names, steps); });
  }

  // Skips networks that are valid but slow; invalid ones are built.
  bool small(Shape s) const {
    return c_.wild() || std::max({s.height, s.width, s.channels}) > 65536 || elements(s) <= kMostElements;
  }

  std::string fresh() { return c_.rarely() ? last_name() : "v" + std::to_string(count_++); }

  // Makes an epilogue for a result of this shape, calls the builder, and records the values that it writes.
  template <class Call>
  void add(Shape result, Call call, size_t positions = 1, bool integers = false) {
    if (!small(result)) return;
    std::vector<Value> floats, bits;
    const auto steps = epilogue(result, positions, integers, floats, bits);
    call(steps);
    floats_.insert(floats_.end(), floats.begin(), floats.end());
    bits_.insert(bits_.end(), bits.begin(), bits.end());
  }

  std::vector<Step> epilogue(Shape result, size_t positions, bool integers, std::vector<Value>& floats,
                             std::vector<Value>& bits) {
    const size_t entries = positions * result.channels;
    const auto rule = [&] { return c_.flip() ? Rule::step : Rule::sign; };
    std::vector<Step> steps;
    if (integers ? c_.flip() : c_.rarely()) {
      bits.push_back({fresh(), result});
      return {Step::threshold(bits.back().name, c_.table<int32_t>(entries), c_.bits(positions, result.channels))};
    }
    for (size_t i = c_.below(4); i > 0; --i) {
      switch (c_.below(6)) {
        case 0:
          steps.push_back(Step::affine(c_.table<float>(entries), c_.table<float>(entries)));
          break;
        case 1:
          steps.push_back(Step::slopes(c_.table<float>(entries), c_.table<float>(entries)));
          break;
        case 2:
          steps.push_back(Step::clamp(c_.real(), c_.real()));
          break;
        case 3:
          for (const Value& value : floats_) {
            const Shape& s = value.shape;
            const bool same = s.height == result.height && s.width == result.width && s.channels == result.channels;
            if (!same && !c_.rarely()) continue;
            steps.push_back(Step::add(wire(value)));
            break;
          }
          break;
        case 4:
          steps.push_back(Step::levels(c_.real(), c_.real(), rule()));
          break;
        case 5:
          bits.push_back({fresh(), result});
          steps.push_back(Step::binarize(bits.back().name, rule(), c_.table<float>(c_.flip() ? entries : 0)));
          break;
      }
    }
    if (!c_.rarely()) {
      floats.push_back({fresh(), result});
      steps.push_back(Step::store(floats.back().name, c_.below(3) == 0 ? ValueType::float16 : ValueType::float32));
    }
    return steps;
  }

  Choices& c_;
  Builder builder_;
  Value input_;
  bool pixels_;
  std::vector<Value> floats_, bits_;
  size_t count_ = 0;
};

void run(Engine& engine, Choices& c) {
  size_t work = 0;
  for (const NodeInfo& node : engine.nodes()) work += node.macs + elements(node.output);
  if (work > kMostWork) return;
  const size_t count = c.below(3), in = elements(engine.input_shape()), out = elements(engine.output_shape());
  std::vector<float> results(count * out);
  const auto pixels = c.table<uint8_t>(count * in);
  if (pixels.size() == count * in) engine.run(pixels.data(), count, results.data());
  const auto floats = c.table<float>(count * in);
  const bool takes_floats = engine.input_type() == ValueType::float32 || c.rarely();
  if (takes_floats && floats.size() == count * in) engine.run(floats.data(), count, results.data());
  for (size_t i = c.rarely() ? 1 : 0; i <= engine.values().size(); ++i) engine.value(i);  // the last does not exist
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Choices c(data, size);
  try {
    std::vector<std::string> isas = {"", "unknown"};
    for (const Isa isa : kIsas) {
      if (built_for(isa) && cpu_has(isa)) isas.push_back(name(isa));
    }
    const Shape input{c.number(1, 12), c.number(1, c.flip() ? 12 : 40), c.number(1, 70)};
    const size_t threads = c.rarely() ? c.below(2) * ~size_t{0} : 1 + c.below(3);
    const Options options{threads, isas[c.rarely() ? 1 : 2 + c.below(isas.size() - 2)], c.flip(), c.rarely()};
    const ValueType type = c.below(4) == 0 ? ValueType::uint8 : ValueType::float32;
    if (c.wild() && elements(input) > kMostElements && input.channels > 0 && elements(input) <= size_t{1} << 28)
      return 0;
    Builder builder("x", input, c.table<float>(input.channels),
                    std::vector<float>(std::min(input.channels, kMostElements), c.rarely() ? c.real() : 0.5f), options,
                    type);
    Network network(c, std::move(builder), {"x", input}, type);
    for (size_t i = 0; i < kMostNodes && !c.at_end(); ++i) network.add_node();
    run(*network.finish(), c);
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
