// Malformed descriptions are refused with a text that says what is wrong; nothing crashes.
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

TEST(pools_are_checked) {
  CHECK_THROWS(start().max_pool2d("p", "x", {{2, 2}, {1, 1}, {2, 0}}, kStore), Error, "half of its kernel");
  CHECK_THROWS(start().max_pool2d("p", "x", {{0, 2}, {1, 1}, {0, 0}}, kStore), Error, "kernel 0");
  CHECK_THROWS(start().avg_pool2d("p", "x", {{5, 5}, {1, 1}, {0, 0}}, true, kStore), Error, "shape 0x0x8");
  CHECK_THROWS(with_bits().bit_max_pool2d("p", "bits", {}, {0, 0}, kStore), Error, "flip has 2 entries, needs 1");
  CHECK_THROWS(start().pad_channels("p", "x", 70000, 0, kStore), Error, "65536 at most");
}

TEST(values_need_memory_of_their_own) {
  Builder b = start();
  b.elementwise("e", "x", kStore);
  const auto engine = b.finish("y");
  CHECK_THROWS(engine->value(0), Error, "keep_values");
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

RUN_TESTS()
