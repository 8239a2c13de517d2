// The builder's methods: each checks a node and adds its op.
#include <algorithm>
#include <cmath>

#include "engine/draft.h"
#include "ops/conv_plan.h"

namespace onebit {
namespace {

Shape convolution_result(const Convolution& g, Shape input) {
  const Pair size = convolution_output(g, input);
  return {size.vertical, size.horizontal, g.out_channels};
}

Shape rpc_result(const ReshapedConvolution& g, Shape input) {
  const Pair size = rpc_output(g, input);
  return {size.vertical, size.horizontal, g.out_channels / (g.upscale * g.upscale)};
}

size_t taps(const Convolution& g) { return g.kernel.vertical * g.kernel.horizontal; }
size_t positions(const ReshapedConvolution& g) { return g.upscale * g.upscale; }

void check_bits(Draft& draft, const std::string& name, const char* what, const Table<uint32_t>& words, size_t rows,
                size_t channels) {
  check_length(name, what, words, rows * words_for(channels));
  draft.check_once("bits", words, channels, [&] { check_unused_bits(name, what, words, channels); });
}

}  // namespace

struct Builder::State {
  Draft draft;

  void conv2d(const std::string& name, ValueRef input, const Convolution& geometry, const RealWeights& weights,
              const std::vector<Step>& epilogue) {
    const Shape shape = draft.shape(input.index), result = convolution_result(geometry, shape);
    Epilogue steps = draft.epilogue(name, epilogue, result, false);
    draft.add_layer({name, "conv2d", text(geometry) + precision(input), input.index, result, 1}, &Kernels::float_conv,
                    kFloatConvKernels, draft.kernels(), std::move(steps),
                    [&](size_t from, BuildContext build, Epilogue behind) {
                      return make_conv2d(build, shape, {from, input.half}, geometry, weights, std::move(behind));
                    });
  }
};

Builder::Builder(const std::string& input, Shape shape, const Table<float>& mean, const Table<float>& std,
                 Options options, ValueType input_type)
    : state_(std::make_unique<State>()) {
  check_shape("input", shape);
  check_length("input", "mean", mean, shape.channels);
  check_length("input", "std", std, shape.channels);
  state_->draft = Draft(std::move(options));
  Draft& draft = state_->draft;
  require(input_type == ValueType::float32 || input_type == ValueType::uint8, "input",
          std::string("its type is ") + text(input_type) + ", needs float32 or uint8");
  draft.add_input(input, input_type, shape);
  for (size_t c = 0; c < shape.channels; ++c) {
    if (!(std[c] > 0 && std::isfinite(std[c]) && std::isfinite(mean[c]))) {
      refuse("input", "std must be above 0, mean finite");
    }
  }
  if (input_type == ValueType::uint8) return;
  draft.set_pixel_table(
      draft.store().block<float>(Key("pixels", mean, std), 256 * shape.channels, [=](float* table, Poll&) {
        for (size_t c = 0; c < mean.size(); ++c) {
          for (int pixel = 0; pixel < 256; ++pixel) *table++ = (static_cast<float>(pixel) / 255.0f - mean[c]) / std[c];
        }
      }));
}

Builder::~Builder() = default;
Builder::Builder(Builder&&) noexcept = default;

void Builder::binary_conv2d(const std::string& name, const std::string& input, const Convolution& geometry,
                            int pad_value, const Table<uint32_t>& weight, const std::vector<Step>& epilogue,
                            size_t shuffle) {
  Draft& draft = state_->draft;
  const size_t value = draft.read(name, input, ValueType::bits);
  const Shape shape = draft.shape(value);
  check_convolution(name, geometry, shape);
  require(pad_value >= -1 && pad_value <= 1, name, "pad_value " + std::to_string(pad_value) + " is not -1, 0 or 1");
  // Padding with 0 needs a table with a row for each way in which the kernel can reach past the map.
  require(pad_value != 0 || std::max(geometry.kernel.vertical, geometry.kernel.horizontal) <= kMaxZeroPaddedKernel,
          name, "with pad_value 0 the sides of a kernel may be 512 at most");
  if (shuffle < 1 || geometry.out_channels % shuffle != 0) {
    refuse(name, "shuffle = " + std::to_string(shuffle) + " must divide " + std::to_string(geometry.out_channels) +
                     " outputs");
  }
  const size_t depth = shape.channels / geometry.groups;
  check_bits(draft, name, "weight", weight, geometry.out_channels * taps(geometry), depth);
  const Shape result = convolution_result(geometry, shape);
  Epilogue steps = draft.epilogue(name, epilogue, result, true);
  draft.add_layer({name, "binary_conv2d", text(geometry) + " pad " + std::to_string(pad_value), value, result, 1},
                  &Kernels::binary_conv, kBinaryConvKernels,
                  kernels_for(draft.isa(), ConvPlan::neighbors(geometry) * words_for(depth)), std::move(steps),
                  [&](size_t from, BuildContext build, Epilogue behind) {
                    return make_binary_conv2d(build, shape, from, geometry, pad_value, weight, shuffle,
                                              std::move(behind));
                  });
}

void Builder::binary_rpc2d(const std::string& name, const std::string& input, const ReshapedConvolution& geometry,
                           int pad_value, const Table<uint32_t>& weight, const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const size_t value = draft.read(name, input, ValueType::bits);
  const Shape shape = draft.shape(value);
  check_rpc(name, geometry, shape);
  require(pad_value == -1 || pad_value == 1, name, "pad_value " + std::to_string(pad_value) + " is not -1 or 1");
  check_bits(draft, name, "weight", weight, geometry.out_channels * geometry.block * geometry.block, shape.channels);
  const Shape result = rpc_result(geometry, shape);
  Epilogue steps = draft.epilogue(name, epilogue, result, true, positions(geometry));
  draft.add_layer({name, "binary_rpc2d", text(geometry), value, result, positions(geometry)}, &Kernels::binary_conv,
                  kBinaryConvKernels, kernels_for(draft.isa(), geometry.block * words_for(shape.channels)),
                  std::move(steps), [&](size_t from, BuildContext build, Epilogue behind) {
                    return make_binary_rpc2d(build, shape, from, geometry, pad_value, weight, std::move(behind));
                  });
}

void Builder::rpc2d(const std::string& name, const std::string& input, const ReshapedConvolution& geometry,
                    const Table<float>& weight, const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const ValueRef value = draft.read_floats(name, input);
  const Shape shape = draft.shape(value.index);
  check_rpc(name, geometry, shape);
  check_length(name, "weight", weight, geometry.out_channels * geometry.block * geometry.block * shape.channels);
  const Shape result = rpc_result(geometry, shape);
  Epilogue steps = draft.epilogue(name, epilogue, result, false, positions(geometry));
  draft.add_layer({name, "rpc2d", text(geometry) + precision(value), value.index, result, positions(geometry)},
                  &Kernels::float_conv, kFloatConvKernels, draft.kernels(), std::move(steps),
                  [&](size_t from, BuildContext build, Epilogue behind) {
                    return make_rpc2d(build, shape, {from, value.half}, geometry, {weight, {}}, std::move(behind));
                  });
}

void Builder::conv2d(const std::string& name, const std::string& input, const Convolution& geometry,
                     const Table<float>& weight, const std::vector<Step>& epilogue) {
  const ValueRef value = state_->draft.read_floats(name, input);
  const Shape shape = state_->draft.shape(value.index);
  check_convolution(name, geometry, shape);
  const size_t depth = shape.channels / geometry.groups;
  check_length(name, "weight", weight, geometry.out_channels * taps(geometry) * depth);
  state_->conv2d(name, value, geometry, {weight, {}}, epilogue);
}

void Builder::conv2d_bits(const std::string& name, const std::string& input, const Convolution& geometry,
                          const Table<uint32_t>& weight_bits, const std::vector<Step>& epilogue) {
  const ValueRef value = state_->draft.read_floats(name, input);
  const Shape shape = state_->draft.shape(value.index);
  check_convolution(name, geometry, shape);
  const size_t depth = shape.channels / geometry.groups;
  check_bits(state_->draft, name, "weight_bits", weight_bits, geometry.out_channels * taps(geometry), depth);
  state_->conv2d(name, value, geometry, {{}, weight_bits}, epilogue);
}

void Builder::int8_conv2d(const std::string& name, const std::string& input, const Convolution& geometry,
                          const Table<int8_t>& weight, const Table<int32_t>& zero, const Table<float>& scale,
                          const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const size_t value = draft.read(name, input, ValueType::uint8);
  const Shape shape = draft.shape(value);
  check_convolution(name, geometry, shape);
  const size_t depth = taps(geometry) * (shape.channels / geometry.groups);
  require(geometry.kernel.vertical <= kMaxInt8Side && geometry.kernel.horizontal <= kMaxInt8Side, name,
          "kernel sides of an int8 convolution may be 16 at most");
  require(depth <= kMaxInt8Terms, name, "terms of a sum exceed " + std::to_string(kMaxInt8Terms));
  check_length(name, "weight", weight, geometry.out_channels * depth);
  check_length(name, "zero", zero, shape.channels);
  check_length(name, "scale", scale, geometry.out_channels);
  draft.check_once("int8", weight, 0, [&] {
    for (const int8_t w : weight) {
      if (w < -127) refuse(name, "weight -128 is outside -127 ... 127");
    }
  });
  for (const int32_t z : zero) {
    if (z < 0 || z > kMaxZero) refuse(name, "zero " + std::to_string(z) + " is outside 0 ... 65280");
  }
  const Shape result = convolution_result(geometry, shape);
  Epilogue steps = draft.epilogue(name, epilogue, result, false);
  draft.add_layer({name, "int8_conv2d", text(geometry), value, result, 1}, &Kernels::int8_conv, kInt8ConvKernels,
                  draft.kernels(), std::move(steps), [&](size_t from, BuildContext build, Epilogue behind) {
                    return make_int8_conv2d(build, shape, from, geometry, weight, zero, scale, std::move(behind));
                  });
}

void Builder::max_pool2d(const std::string& name, const std::string& input, const Pooling& geometry,
                         const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  draft.add_pool(name, "max_pool2d", input, geometry, epilogue, [&](const PooledMap& map, Epilogue steps) {
    return make_max_pool2d(draft.store(), map, std::move(steps));
  });
}

void Builder::avg_pool2d(const std::string& name, const std::string& input, const Pooling& geometry,
                         bool count_include_pad, const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  draft.add_pool(name, "avg_pool2d", input, geometry, epilogue, [&](const PooledMap& map, Epilogue steps) {
    return make_avg_pool2d(draft.store(), map, count_include_pad, std::move(steps));
  });
}

void Builder::bit_max_pool2d(const std::string& name, const std::string& input, const Pooling& geometry,
                             const Table<uint32_t>& flip, const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const size_t value = draft.read(name, input, ValueType::bits);
  const Shape shape = draft.shape(value);
  check_pooling(name, geometry, shape);
  check_bits(draft, name, "flip", flip, 1, shape.channels);
  const Pair size = pooling_output(geometry, shape);
  const Shape result{size.vertical, size.horizontal, shape.channels};
  check_shape(name, result);
  require(epilogue.size() == 1 && epilogue[0].kind == Step::Kind::store && epilogue[0].type == ValueType::float32, name,
          "its epilogue must be one store without a type");
  const size_t output = draft.add_value(name, epilogue[0].value, ValueType::bits, result);
  draft.add_node(name, "bit_max_pool2d", result,
                 make_bit_max_pool2d(draft.store(), shape, value, geometry, flip, output));
}

void Builder::elementwise(const std::string& name, const std::string& input, const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const ValueRef value = draft.read_floats(name, input);
  const Shape shape = draft.shape(value.index);
  Epilogue steps = draft.epilogue(name, epilogue, shape, false);
  draft.add_node(name, "elementwise", shape, make_elementwise(shape, value, std::move(steps)));
}

void Builder::flatten(const std::string& name, const std::string& input, const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const ValueRef value = draft.read_floats(name, input);
  const Shape shape = draft.shape(value.index);
  const Shape result{1, 1, shape.height * shape.width * shape.channels};
  Epilogue steps = draft.epilogue(name, epilogue, result, false);
  draft.add_node(name, "flatten", result, make_flatten(shape, value, std::move(steps)));
}

void Builder::pad_channels(const std::string& name, const std::string& input, size_t before, size_t after,
                           const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const ValueRef value = draft.read_floats(name, input);
  const Shape shape = draft.shape(value.index);
  require(before <= kMaxSide && after <= kMaxSide, name, "before and after may be 65536 at most");
  const Shape result{shape.height, shape.width, before + shape.channels + after};
  Epilogue steps = draft.epilogue(name, epilogue, result, false);
  draft.add_node(name, "pad_channels", result,
                 make_pad_channels(draft.store(), shape, value, before, after, std::move(steps)));
}

void Builder::shuffle_channels(const std::string& name, const std::string& input, size_t groups,
                               const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const ValueRef value = draft.read_floats(name, input);
  const Shape shape = draft.shape(value.index);
  if (groups < 1 || shape.channels % groups != 0) {
    refuse(name, "groups = " + std::to_string(groups) + " must divide " + std::to_string(shape.channels) + " channels");
  }
  Epilogue steps = draft.epilogue(name, epilogue, shape, false);
  draft.add_node(name, "shuffle_channels", shape, make_shuffle_channels(shape, value, groups, std::move(steps)));
}

void Builder::concat(const std::string& name, const std::vector<std::string>& inputs,
                     const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  require(!inputs.empty() && inputs.size() <= kMaxConcat, name,
          std::to_string(inputs.size()) + " inputs are outside 1 ... 16");
  std::vector<ValueRef> values;
  std::vector<Shape> shapes;
  Shape result;
  for (const std::string& input : inputs) {
    values.push_back(draft.read_floats(name, input));
    shapes.push_back(draft.shape(values.back().index));
    const Shape& shape = shapes.back();
    if (shape.height != shapes[0].height || shape.width != shapes[0].width) {
      refuse(name, "value '" + input + "' is " + text(shape) + ", needs the height and width of " + text(shapes[0]));
    }
    result = {shape.height, shape.width, result.channels + shape.channels};
  }
  Epilogue steps = draft.epilogue(name, epilogue, result, false);
  draft.add_node(name, "concat", result, make_concat(draft.store(), shapes, values, std::move(steps)));
}

void Builder::gather2d(const std::string& name, const std::string& input, const Table<int32_t>& rows,
                       const Table<int32_t>& columns, const Table<int32_t>& channels, float fill,
                       const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const ValueRef value = draft.read_floats(name, input);
  const Shape shape = draft.shape(value.index);
  require(std::isfinite(fill), name, "fill must be finite");
  const auto count = [&](const char* what, const Table<int32_t>& table, size_t length) {
    if (table.empty()) return length;
    require(table.size() <= kMaxSide, name, std::string(what) + " may have 65536 entries at most");
    draft.check_once(what, table, length, [&] {
      for (const int32_t index : table) {
        if (index < -1 || index >= static_cast<int64_t>(length)) {
          refuse(name, std::string(what) + " has the entry " + std::to_string(index) + ", outside -1 ... " +
                           std::to_string(length - 1));
        }
      }
    });
    return table.size();
  };
  const Shape result{count("rows", rows, shape.height), count("columns", columns, shape.width),
                     count("channels", channels, shape.channels)};
  check_shape(name, result);
  Epilogue steps = draft.epilogue(name, epilogue, result, false);
  draft.add_node(name, "gather2d", result,
                 make_gather2d(draft.store(), shape, result, value, rows, columns, channels, fill, std::move(steps)));
}

void Builder::depth_to_space(const std::string& name, const std::string& input, size_t block,
                             const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const ValueRef value = draft.read_floats(name, input);
  const Shape shape = draft.shape(value.index);
  if (block < 1 || block > kMaxBlock || shape.channels % (block * block) != 0) {
    refuse(name, "block = " + std::to_string(block) + " must be 1 ... 64, and its square divide " +
                     std::to_string(shape.channels) + " channels");
  }
  const Shape result{shape.height * block, shape.width * block, shape.channels / (block * block)};
  check_shape(name, result);
  Epilogue steps = draft.epilogue(name, epilogue, result, false);
  draft.add_node(name, "depth_to_space", result, make_depth_to_space(shape, value, block, std::move(steps)));
}

void Builder::space_to_depth(const std::string& name, const std::string& input, size_t block,
                             const std::vector<Step>& epilogue) {
  Draft& draft = state_->draft;
  const ValueRef value = draft.read_floats(name, input);
  const Shape shape = draft.shape(value.index);
  if (block < 1 || block > kMaxBlock || shape.height % block != 0 || shape.width % block != 0) {
    refuse(name, "block = " + std::to_string(block) + " must be 1 ... 64, and divide the sides of " + text(shape));
  }
  const Shape result{shape.height / block, shape.width / block, shape.channels * block * block};
  check_shape(name, result);
  Epilogue steps = draft.epilogue(name, epilogue, result, false);
  draft.add_node(name, "space_to_depth", result, make_space_to_depth(shape, value, block, std::move(steps)));
}

std::unique_ptr<Engine> Builder::finish(const std::string& output) {
  return std::unique_ptr<Engine>(new Engine(std::make_unique<Engine::State>(state_->draft.finish(output))));
}

}  // namespace onebit
