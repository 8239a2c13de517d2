// Invalid descriptions are refused with a message that says what is wrong; nothing crashes.
#include <limits>
#include <stdexcept>

#include "check.h"
#include "onebit/engine.h"

using namespace onebit;

namespace {

using Error = std::invalid_argument;
using Floats = std::vector<float>;
using Words = std::vector<uint32_t>;

Builder start() { return Builder("x", {4, 4, 8}, Floats(8, 0.0f), Floats(8, 1.0f)); }

Builder with_bits() {
  Builder b = start();
  b.elementwise("sign", "x", {Step::binarize("bits", Rule::sign)});
  return b;
}

const std::vector<Step> kStore = {Step::store("y")};

Convolution conv(size_t kernel = 1, size_t out = 2) {
  Convolution g;
  g.kernel = {kernel, kernel};
  g.out_channels = out;
  return g;
}

}  // namespace

TEST(input_is_checked) {
  CHECK_THROWS(Builder("x", {0, 4, 8}, Floats(8), Floats(8, 1.0f)), Error, "shape 0x4x8 has a side outside");
  CHECK_THROWS(Builder("x", {65536, 65536, 1}, {0}, {1}), Error, "elements exceed");
  CHECK_THROWS(Builder("x", {4, 4, 8}, Floats(7), Floats(8, 1.0f)), Error, "mean has 7 entries, needs 8");
  CHECK_THROWS(Builder("x", {4, 4, 1}, {0}, {0}), Error, "std must be above 0");
  CHECK_THROWS(Builder("", {4, 4, 1}, {0}, {1}), Error, "a value needs a name");
  CHECK_THROWS(Builder("x", {4, 4, 1}, {0}, {1}, {0, "", false}), Error, "threads: 0 is outside 1 ... 1024");
  CHECK_THROWS(Builder("x", {4, 4, 1}, {0}, {1}, {9999, "", false}), Error, "threads: 9999");
  CHECK_THROWS(Builder("x", {4, 4, 1}, {0}, {1}, {1, "mmx", false}), Error, "isa=mmx cannot run here");
}

TEST(wires_are_checked) {
  CHECK_THROWS(start().elementwise("e", "nothing", kStore), Error, "e: no value 'nothing' was written before");
  CHECK_THROWS(start().elementwise("e", "x", {Step::store("x")}), Error, "value 'x' is written twice");
  CHECK_THROWS(start().elementwise("e", "x", {Step::store("y", ValueType::bits)}), Error, "needs float32 or float16");
  CHECK_THROWS(start().bit_max_pool2d("p", "x", {}, {0}, kStore), Error, "value 'x' holds float32, needs bits");
  CHECK_THROWS(with_bits().flatten("f", "bits", kStore), Error, "value 'bits' holds bits, needs float32");
  CHECK_THROWS(start().finish("x"), Error, "the network has no nodes");
  CHECK_THROWS(with_bits().finish("bits"), Error, "needs float32");
  CHECK_THROWS(with_bits().finish("y"), Error, "no value 'y'");
}

TEST(epilogues_are_checked) {
  CHECK_THROWS(start().elementwise("e", "x", {}), Error, "the epilogue writes no value");
  CHECK_THROWS(start().elementwise("e", "x", {Step::clamp(0, 1)}), Error, "the epilogue writes no value");
  CHECK_THROWS(start().elementwise("e", "x", {Step::add("x")}), Error, "the epilogue writes no value");
  CHECK_THROWS(start().elementwise("e", "x", {Step::affine({1}, {1}), kStore[0]}), Error, "has 1 entries, needs 8");
  CHECK_THROWS(start().elementwise("e", "x", {Step::slopes(Floats(8), {1}), kStore[0]}), Error, "needs 8");
  CHECK_THROWS(start().elementwise("e", "x", {Step::binarize("b", Rule::sign, {1})}), Error, "threshold has 1");
  CHECK_THROWS(start().elementwise("e", "x", {Step::threshold("b", std::vector<int32_t>(8), {0})}), Error,
               "only behind a binary convolution");
  CHECK_THROWS(start().pad_channels("p", "x", 1, 0, {Step::add("x"), kStore[0]}), Error, "is 4x4x8, needs 4x4x9");
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", conv(), 0, {1, 2}, {Step::threshold("t", {1}, {0})}), Error,
               "below has 1 entries, needs 2");
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", conv(), 0, {1, 2}, {Step::threshold("t", {1, 2}, {4})}), Error,
               "flip has a 1 in an unused bit");
  CHECK_THROWS(
      with_bits().binary_conv2d("c", "bits", conv(), 0, {1, 2}, {Step::threshold("t", {1, 2}, {0}), kStore[0]}), Error,
      "threshold must be the only step");
  CHECK_THROWS(with_bits().bit_max_pool2d("p", "bits", {}, {0}, {Step::binarize("b", Rule::sign)}), Error,
               "its epilogue must be one store");
}

TEST(convolutions_are_checked) {
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", conv(), 0, {1}, kStore), Error, "weight has 1 entries, needs 2");
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", conv(), 2, {1, 2}, kStore), Error, "pad_value 2");
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", conv(), 0, {1, 256}, kStore), Error, "a 1 in an unused bit");
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", conv(5), 0, Words(50), kStore), Error, "shape 0x0x2");
  CHECK_THROWS(start().conv2d("c", "x", conv(), Floats(15), kStore), Error, "weight has 15 entries, needs 16");
  CHECK_THROWS(start().conv2d_bits("c", "x", conv(), {1}, kStore), Error, "weight_bits has 1 entries, needs 2");
  Convolution g = conv();
  g.stride = {0, 1};
  CHECK_THROWS(start().conv2d("c", "x", g, Floats(16), kStore), Error, "stride 0 is outside 1 ... 65536");
  g = conv();
  g.groups = 3;
  CHECK_THROWS(start().conv2d("c", "x", g, Floats(16), kStore), Error, "groups = 3 must divide 8 inputs");
  g.groups = 0;
  CHECK_THROWS(start().conv2d("c", "x", g, Floats(16), kStore), Error, "groups = 0");
  g = conv();
  g.out_channels = 0;
  CHECK_THROWS(start().conv2d("c", "x", g, {}, kStore), Error, "out_channels is outside");
  g = conv();
  g.padding = {65536, 65536};
  CHECK_THROWS(start().conv2d("c", "x", g, Floats(16), kStore), Error, "exceed");
  g = conv();
  g.kernel = {65536, 65536};
  CHECK_THROWS(start().conv2d("c", "x", g, {}, kStore), Error, "terms of a sum exceed");
}

TEST(int8_convolutions_are_checked) {
  const auto int8 = [](Convolution g, std::vector<int8_t> weight, std::vector<int32_t> zero, Floats scale) {
    Builder b("x", {4, 4, 8}, Floats(8, 0.0f), Floats(8, 1.0f), {}, ValueType::uint8);
    b.int8_conv2d("c", "x", g, weight, zero, scale, kStore);
  };
  const std::vector<int8_t> weight(16, -127);
  const std::vector<int32_t> zero(8, 65280);
  int8(conv(), weight, zero, Floats(2));
  CHECK_THROWS(int8(conv(), std::vector<int8_t>(15), zero, Floats(2)), Error, "weight has 15 entries, needs 16");
  CHECK_THROWS(int8(conv(), weight, {1, 2}, Floats(2)), Error, "zero has 2 entries, needs 8");
  CHECK_THROWS(int8(conv(), weight, zero, Floats(3)), Error, "scale has 3 entries, needs 2");
  CHECK_THROWS(int8(conv(), std::vector<int8_t>(16, -128), zero, Floats(2)), Error, "weight -128 is outside");
  CHECK_THROWS(int8(conv(), weight, std::vector<int32_t>(8, 65281), Floats(2)), Error, "zero 65281 is outside");
  CHECK_THROWS(int8(conv(), weight, std::vector<int32_t>(8, -1), Floats(2)), Error, "zero -1 is outside");
  Convolution g = conv(17);
  g.padding = {8, 8};
  CHECK_THROWS(int8(g, std::vector<int8_t>(2 * 17 * 17 * 8), zero, Floats(2)), Error, "may be 16 at most");
  CHECK_THROWS(start().int8_conv2d("c", "x", conv(), weight, zero, Floats(2), kStore), Error,
               "holds float32, needs uint8");
  CHECK_THROWS(Builder("x", {4, 4, 1}, {0}, {1}, {}, ValueType::bits), Error, "needs float32 or uint8");
  CHECK_THROWS(Builder("x", {4, 4, 1}, {0}, {1}, {}, ValueType::float16), Error, "needs float32 or uint8");
  Builder wide("x", {4, 4, 200}, Floats(200, 0.0f), Floats(200, 1.0f), {}, ValueType::uint8);
  CHECK_THROWS(wide.int8_conv2d("c", "x", conv(13), {}, {}, {}, kStore), Error, "terms of a sum exceed 32768");
  Builder floats("x", {4, 4, 8}, Floats(8, 0.0f), Floats(8, 1.0f), {}, ValueType::uint8);
  CHECK_THROWS(floats.elementwise("e", "x", kStore), Error, "holds uint8, needs float32");
}

TEST(pools_are_checked) {
  CHECK_THROWS(start().max_pool2d("p", "x", {{2, 2}, {1, 1}, {2, 0}}, kStore), Error, "half of its kernel");
  CHECK_THROWS(start().max_pool2d("p", "x", {{0, 2}, {1, 1}, {0, 0}}, kStore), Error, "kernel 0");
  CHECK_THROWS(start().avg_pool2d("p", "x", {{5, 5}, {1, 1}, {0, 0}}, true, kStore), Error, "shape 0x0x8");
  CHECK_THROWS(with_bits().bit_max_pool2d("p", "bits", {}, {0, 0}, kStore), Error, "flip has 2 entries, needs 1");
  CHECK_THROWS(start().pad_channels("p", "x", 70000, 0, kStore), Error, "65536 at most");
}

TEST(moves_are_checked) {
  const auto gather = [](std::vector<int32_t> rows, std::vector<int32_t> channels, float fill = 0.0f) {
    start().gather2d("g", "x", rows, {}, channels, fill, kStore);
  };
  gather({3, -1}, {7});
  CHECK_THROWS(gather({4}, {}), Error, "rows has the entry 4, outside -1 ... 3");
  CHECK_THROWS(gather({}, {-2}), Error, "channels has the entry -2, outside -1 ... 7");
  CHECK_THROWS(gather(std::vector<int32_t>(65537), {}), Error, "rows may have 65536 entries at most");
  CHECK_THROWS(gather({}, {}, std::numeric_limits<float>::infinity()), Error, "fill must be finite");
  CHECK_THROWS(start().depth_to_space("d", "x", 0, kStore), Error, "block = 0 must be 1 ... 64");
  CHECK_THROWS(start().depth_to_space("d", "x", 4, kStore), Error, "its square divide 8 channels");
  CHECK_THROWS(start().depth_to_space("d", "x", SIZE_MAX, kStore), Error, "must be 1 ... 64");
  CHECK_THROWS(start().space_to_depth("s", "x", 3, kStore), Error, "divide the sides of 4x4x8");
  CHECK_THROWS(start().space_to_depth("s", "x", 65, kStore), Error, "must be 1 ... 64");
}

TEST(reshaped_convolutions_are_checked) {
  const auto bits = [](ReshapedConvolution g, size_t words, int pad = 1, std::vector<Step> steps = kStore) {
    with_bits().binary_rpc2d("r", "bits", g, pad, Words(words), steps);
  };
  const auto floats = [](ReshapedConvolution g, size_t weights) {
    start().rpc2d("r", "x", g, Floats(weights), kStore);
  };
  bits({2, 2, 1, 8}, 32);
  floats({3, 1, 0, 2}, 144);
  CHECK_THROWS(bits({0, 1, 0, 4}, 16), Error, "block 0 is outside 1 ... 16");
  CHECK_THROWS(floats({17, 1, 0, 4}, 16), Error, "block 17 is outside 1 ... 16");
  CHECK_THROWS(bits({2, 0, 0, 4}, 16), Error, "upscale 0 is not 1 or 2");
  CHECK_THROWS(bits({2, 3, 0, 9}, 36), Error, "upscale 3 is not 1 or 2");
  CHECK_THROWS(bits({2, 2, 2, 4}, 16), Error, "roll 2 is not 0 or 1");
  CHECK_THROWS(bits({4, 2, 1, 4}, 64), Error, "roll needs block = upscale");
  CHECK_THROWS(bits({2, 2, 0, 6}, 24), Error, "out_channels = 6 must be a multiple of upscale^2");
  CHECK_THROWS(bits({2, 2, 0, 0}, 0), Error, "out_channels is outside");
  CHECK_THROWS(bits({2, 2, 0, 65540}, 0), Error, "out_channels is outside");
  CHECK_THROWS(bits({2, 2, 0, 4}, 15), Error, "weight has 15 entries, needs 16");
  CHECK_THROWS(floats({2, 2, 0, 4}, 127), Error, "weight has 127 entries, needs 128");
  CHECK_THROWS(bits({2, 2, 0, 4}, 16, 0), Error, "pad_value 0 is not -1 or 1");
  CHECK_THROWS(with_bits().binary_rpc2d("r", "bits", {1, 1, 0, 1}, 1, {256}, kStore), Error, "1 in an unused bit");
  CHECK_THROWS(start().binary_rpc2d("r", "x", {1, 1, 0, 1}, 1, {0}, kStore), Error, "holds float32, needs bits");
  CHECK_THROWS(with_bits().rpc2d("r", "bits", {1, 1, 0, 1}, Floats(8), kStore), Error, "holds bits, needs float32");
  // Tables have an entry for each position and channel; bits start with a word for each position.
  const auto step = [&](const Step& s) { bits({2, 2, 0, 8}, 32, 1, {s}); };
  step(Step::threshold("t", std::vector<int32_t>(8), Words(4)));
  CHECK_THROWS(step(Step::threshold("t", std::vector<int32_t>(2), Words(4))), Error, "below has 2 entries, needs 8");
  CHECK_THROWS(step(Step::threshold("t", std::vector<int32_t>(8), Words(1))), Error, "flip has 1 entries, needs 4");
  CHECK_THROWS(step(Step::threshold("t", std::vector<int32_t>(8), {0, 4, 0, 0})), Error, "flip has a 1 in an unused");
  CHECK_THROWS(step(Step::affine(Floats(2), Floats(8))), Error, "first table of a step has 2 entries, needs 8");
  CHECK_THROWS(step(Step::affine(Floats(8), Floats(2))), Error, "second table of a step has 2 entries, needs 8");
  CHECK_THROWS(step(Step::binarize("b", Rule::sign, Floats(2))), Error, "threshold has 2 entries, needs 8");
  CHECK_THROWS(start().rpc2d("r", "x", {2, 2, 0, 8}, Floats(256), {Step::add("x"), kStore[0]}), Error,
               "add: value 'x' is 4x4x8, needs 4x4x2");
  CHECK_THROWS(start().rpc2d("r", "x", {2, 2, 0, 4}, Floats(128), {Step::threshold("t", {0, 0, 0, 0}, Words(4))}),
               Error, "only behind a binary convolution");
  Builder wide("x", {65536, 4096, 1}, {0}, {1});
  CHECK_THROWS(wide.rpc2d("r", "x", {1, 2, 0, 4}, Floats(4), kStore), Error, "exceed");
}

TEST(channels_are_joined_and_shuffled_within_bounds) {
  CHECK_THROWS(start().concat("c", {}, kStore), Error, "0 inputs are outside 1 ... 16");
  CHECK_THROWS(start().concat("c", std::vector<std::string>(17, "x"), kStore), Error, "17 inputs are outside 1 ... 16");
  CHECK_THROWS(start().concat("c", {"x", "z"}, kStore), Error, "no value 'z'");
  CHECK_THROWS(with_bits().concat("c", {"x", "bits"}, kStore), Error, "holds bits, needs float32");
  Builder b = start();
  b.max_pool2d("p", "x", {{2, 2}, {2, 2}, {0, 0}}, {Step::store("small")});
  CHECK_THROWS(b.concat("c", {"x", "small"}, kStore), Error, "'small' is 2x2x8, needs the height and width of 4x4x8");
  Builder wide("x", {1, 1, 40000}, Floats(40000), Floats(40000, 1.0f));
  CHECK_THROWS(wide.concat("c", {"x", "x"}, kStore), Error, "outside 1 ... 65536");
  CHECK_THROWS(start().shuffle_channels("s", "x", 0, kStore), Error, "groups = 0 must divide 8 channels");
  CHECK_THROWS(start().shuffle_channels("s", "x", 3, kStore), Error, "groups = 3 must divide 8 channels");
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", conv(1, 4), 0, Words(4), kStore, 3), Error,
               "shuffle = 3 must divide 4 outputs");
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", conv(1, 4), 0, Words(4), kStore, 0), Error, "shuffle = 0");
}

TEST(values_need_memory_of_their_own) {
  Builder b = start();
  b.elementwise("e", "x", kStore);
  const auto engine = b.finish("y");
  CHECK_THROWS(engine->value(0), Error, "keep_values");
}

TEST(memory_is_limited) {
  CHECK_THROWS(start().max_pool2d("p", "x", {{65536, 65536}, {1, 1}, {32768, 32768}}, kStore), Error, "taps of a pool");
  Builder tall("x", {65536, 1, 1}, {0}, {1});
  CHECK_THROWS(tall.max_pool2d("p", "x", {{1, 65536}, {1, 65536}, {0, 32768}}, kStore), Error, "padded input exceed");
  Convolution g = conv(513);
  g.padding = {512, 512};
  CHECK_THROWS(with_bits().binary_conv2d("c", "bits", g, 0, Words(2 * 513 * 513), kStore), Error, "512 at most");
  Builder many("x", {16384, 16384, 1}, {0}, {1});  // 1 GiB per value
  std::vector<Step> sum;
  for (int i = 0; i < 8; ++i) {
    const std::string name = "v" + std::to_string(i);
    many.elementwise(name, "x", {Step::store(name)});
    sum.push_back(Step::add(name));
  }
  sum.push_back(kStore[0]);
  many.elementwise("sum", "x", sum);
  CHECK_THROWS(many.finish("y"), Error,
               "9663677440 bytes (values 9663676416, scratch 0, weights 1024), more than max_memory");
}

TEST(pools_join_the_node_before_where_nobody_else_needs_its_result) {
  const Pooling pool{{3, 3}, {2, 2}, {1, 1}};
  struct Network {
    Options options;
    std::vector<Step> steps = {Step::store("map")};
    std::string pooled = "map", added, output = "y";
    bool between = false;
    size_t height = 64;
  };
  const auto kernel = [&](const Network& n, const Pooling& g) {
    Builder b("x", {n.height, 4, 8}, Floats(8, 0.0f), Floats(8, 1.0f), n.options);
    b.elementwise("start", "x", {Step::store("other")});
    b.conv2d("conv", "x", conv(1, 8), Floats(64), n.steps);
    if (n.between) b.elementwise("between", "x", {Step::store("between")});
    std::vector<Step> steps = kStore;
    if (!n.added.empty()) steps.insert(steps.begin(), Step::add(n.added));
    b.max_pool2d("pool", n.pooled, g, steps);
    b.elementwise("end", "y", {Step::store("end")});
    const auto engine = b.finish(n.output);
    CHECK(engine->nodes()[1].kernel.rfind("float_conv_", 0) == 0);
    return engine->nodes()[n.between ? 3 : 2].kernel;
  };
  const std::string joined = "with conv";
  Network n;
  CHECK(kernel(n, pool) == joined);
  n.steps = {Step::affine(Floats(8), Floats(8)), Step::add("other"), Step::store("map", ValueType::float16)};
  CHECK(kernel(n, pool) == joined);
  n = {};
  n.options.keep_values = true;
  CHECK(kernel(n, pool) != joined);
  n = {};
  n.steps = {Step::binarize("bits", Rule::sign), Step::store("map")};
  CHECK(kernel(n, pool) != joined);
  n = {};
  n.pooled = "other";
  CHECK(kernel(n, pool) != joined);
  n = {};
  n.output = "map";
  CHECK(kernel(n, pool) != joined);
  n = {};
  n.between = true;
  CHECK(kernel(n, pool) != joined);
  n = {};
  n.added = "map";
  CHECK(kernel(n, {{3, 3}, {1, 1}, {1, 1}}) != joined);
  n.added = "other";
  CHECK(kernel(n, {{3, 3}, {1, 1}, {1, 1}}) == joined);
  // Windows much taller than a stripe; threads that would compute too many rows twice.
  CHECK(kernel({}, {{8, 2}, {1, 1}, {0, 0}}) == joined);
  CHECK(kernel({}, {{9, 2}, {1, 1}, {0, 0}}) != joined);
  n = {};
  n.options.threads = 2;
  CHECK(kernel(n, pool) != joined);
  CHECK(kernel(n, {{2, 2}, {2, 2}, {0, 0}}) == joined);
  n.height = 6;
  CHECK(kernel(n, {{2, 2}, {2, 2}, {0, 0}}) != joined);
  n.height = 96;
  CHECK(kernel(n, pool) == joined);
}

TEST(pools_of_the_input_join_nothing) {
  Builder b = start();
  b.conv2d("conv", "x", conv(1, 8), Floats(64), {Step::store("map")});
  b.max_pool2d("pool", "x", {{2, 2}, {2, 2}, {0, 0}}, kStore);
  CHECK(b.finish("map")->nodes()[1].kernel != "with conv");
}

TEST(a_map_that_is_pooled_at_once_takes_no_memory) {
  const auto memory = [](const std::string& output) {
    Builder b("x", {64, 64, 1}, {0}, {1});
    b.conv2d("conv", "x", conv(1, 64), Floats(64), {Step::store("map")});
    b.max_pool2d("pool", "map", {{2, 2}, {2, 2}, {0, 0}}, kStore);
    return b.finish(output)->memory().total();
  };
  CHECK(memory("map") > 64 * 64 * 64 * 4);
  CHECK(memory("y") < 64 * 64 * 64 * 4);
}

TEST(a_builder_is_empty_after_finish) {
  Builder b = start();
  b.elementwise("e", "x", kStore);
  b.finish("y");
  CHECK_THROWS(b.elementwise("e", "x", kStore), Error, "no value 'x'");
}

TEST(the_input_may_be_the_output) {
  Builder b = start();
  b.elementwise("e", "x", kStore);
  const auto engine = b.finish("x");
  Floats image(128, 3.0f), result(128);
  engine->run(image.data(), 1, result.data());
  CHECK(result == image);
}

// Runs of three words: a row of a 3x3 kernel with up to 32 input channels.
TEST(the_kernel_follows_the_words_of_a_run) {
  const auto kernel = [](const Convolution& g) {
    Builder b("x", {4, 4, 8}, Floats(8, 0.0f), Floats(8, 1.0f), {1, "avx512", false});
    b.elementwise("sign", "x", {Step::binarize("bits", Rule::sign)});
    b.binary_conv2d("c", "bits", g, 1, Words(g.out_channels * g.kernel.vertical * g.kernel.horizontal), kStore);
    return b.finish("y")->nodes()[1].kernel;
  };
  if (!cpu_has(Isa::avx512)) return;
  Convolution dilated = conv(3), grouped = conv(3);
  dilated.dilation = {1, 2};
  dilated.padding = {0, 1};
  grouped.groups = 2;
  CHECK(kernel(conv(3)) == "binary_conv_avx512_triples");
  for (const Convolution& g : {conv(1), dilated, grouped}) CHECK(kernel(g) == "binary_conv_avx512");
}

RUN_TESTS()
