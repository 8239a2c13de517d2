// Engines with 1 to 8 threads, several engines in parallel, and one engine with several callers give the same results.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "check.h"
#include "onebit/engine.h"

using namespace onebit;

namespace {

using Floats = std::vector<float>;
using Words = std::vector<uint32_t>;
using Pixels = std::vector<uint8_t>;

constexpr Shape kInput{9, 7, 32};
constexpr size_t kElements = 9 * 7 * 32;
constexpr size_t kImages = 2;

// A network with all ops on floats and bits. Its channels of bits fill whole words, so any words are valid. Its weights
// are always the same.
std::unique_ptr<Engine> network(size_t threads, const std::string& isa = "") {
  std::mt19937 random(7);
  const auto words = [&](size_t count) {
    Words out(count);
    for (uint32_t& word : out) word = static_cast<uint32_t>(random());
    return out;
  };
  const auto floats = [&](size_t count) {
    Floats out(count);
    for (float& x : out) x = static_cast<float>(static_cast<int>(random() % 17) - 8) / 8;
    return out;
  };
  const Convolution conv{{3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, 32}, grouped{{3, 3}, {1, 1}, {1, 1}, {1, 1}, 2, 32};
  const Pooling same{{3, 3}, {1, 1}, {1, 1}}, half{{3, 3}, {2, 2}, {1, 1}};
  Builder b("x", kInput, Floats(32, 0.5f), Floats(32, 0.25f), {threads, isa, false});
  b.elementwise("start", "x", {Step::binarize("b0", Rule::sign)});
  b.binary_conv2d("bits", "b0", conv, 0, words(32 * 9),
                  {Step::affine(floats(32), floats(32)), Step::store("f1"), Step::binarize("b1", Rule::step)});
  b.bit_max_pool2d("bit_pool", "b1", same, words(1), {Step::store("b2")});
  b.binary_conv2d("low", "b2", conv, -1, words(32 * 9), {Step::threshold("b3", std::vector<int32_t>(32, 4), words(1))});
  b.binary_rpc2d("blocks", "b3", {2, 2, 0, 128}, 1, words(128 * 4),
                 {Step::affine(floats(128), floats(128)), Step::add("f1"), Step::store("f2")});
  b.rpc2d("real_blocks", "f2", {2, 2, 1, 128}, floats(128 * 4 * 32), {Step::store("f3")});
  b.conv2d("real", "f3", grouped, floats(32 * 9 * 16),
           {Step::slopes(floats(32), floats(32)), Step::add("f2"), Step::store("f4")});
  b.conv2d_bits("signs", "f4", conv, words(32 * 9), {Step::clamp(-40.0f, 50.0f), Step::store("f5")});
  b.shuffle_channels("mix", "f5", 4, {Step::store("f6")});
  b.pad_channels("pad", "f6", 3, 5, {Step::store("f7")});
  b.gather2d("order", "f7", {}, {}, {7, 0, 39, 11}, 0.0f, {Step::store("g0")});
  b.depth_to_space("wide", "g0", 2, {Step::store("g1")});
  b.space_to_depth("deep", "g1", 2, {Step::store("g2")});
  b.concat("join", {"f6", "f7", "g2"}, {Step::store("f8")});
  b.max_pool2d("peaks", "f8", half, {Step::store("f9")});
  b.avg_pool2d("means", "f9", same, false, {Step::store("f10")});
  b.flatten("vector", "f10", {Step::store("y")});
  return b.finish("y");
}

// The same for a network that takes pixels and pools the result of its first convolution.
std::unique_ptr<Engine> pixel_network(size_t threads, const std::string& isa = "") {
  std::mt19937 random(8);
  const Convolution conv{{5, 3}, {1, 1}, {2, 1}, {1, 1}, 1, 70};
  std::vector<int8_t> weight(70 * 5 * 3 * 32);
  for (int8_t& w : weight) w = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
  Builder b("x", kInput, Floats(32, 0.5f), Floats(32, 0.25f), {threads, isa, false}, ValueType::uint8);
  b.int8_conv2d("pixels", "x", conv, weight, std::vector<int32_t>(32, 32640), Floats(70, 0.125f), {Step::store("f1")});
  b.max_pool2d("peaks", "f1", {{2, 2}, {2, 2}, {1, 1}}, {Step::store("y")});  // fused, with few threads
  return b.finish("y");
}

Pixels random_pixels(unsigned seed) {
  std::mt19937 random(seed);
  Pixels out(kImages * kElements);
  for (uint8_t& pixel : out) pixel = static_cast<uint8_t>(random());
  return out;
}

Floats as_floats(const Pixels& pixels) {
  Floats out;
  for (const uint8_t pixel : pixels) out.push_back((static_cast<float>(pixel) / 255.0f - 0.5f) / 0.25f);
  return out;
}

template <class T>
Floats results(Engine& engine, const std::vector<T>& images) {
  const Shape shape = engine.output_shape();
  Floats out(kImages * shape.height * shape.width * shape.channels);
  engine.run(images.data(), kImages, out.data());
  return out;
}

// Runs `work(i)` for i in [0, count) in parallel, each on its own thread.
template <class Work>
void at_once(size_t count, Work work) {
  std::vector<std::thread> all;
  for (size_t i = 0; i < count; ++i) all.emplace_back(work, i);
  for (std::thread& thread : all) thread.join();
}

}  // namespace

TEST(one_to_eight_threads_agree) {
  const Pixels pixels = random_pixels(0);
  const Floats floats = as_floats(pixels);
  for (Isa isa : kIsas) {
    if (!built_for(isa) || !cpu_has(isa)) continue;
    const Floats want = results(*network(1, name(isa)), pixels);
    const Floats want_of_pixels = results(*pixel_network(1, name(isa)), pixels);
    CHECK(*std::max_element(want.begin(), want.end()) > *std::min_element(want.begin(), want.end()));
    for (size_t threads = 1; threads <= 8; ++threads) {
      const auto engine = network(threads, name(isa));
      const std::string note = std::string(name(isa)) + " threads " + std::to_string(threads);
      for (int round = 0; round < 5; ++round) {
        CHECK_NOTE(results(*engine, pixels) == want, note);
        CHECK_NOTE(results(*engine, floats) == want, note);
      }
      CHECK_NOTE(results(*pixel_network(threads, name(isa)), pixels) == want_of_pixels, note);
    }
  }
}

TEST(sessions_side_by_side) {
  constexpr size_t kSessions = 6;
  std::vector<Pixels> pixels;
  std::vector<Floats> want;
  for (unsigned i = 0; i < kSessions; ++i) {
    pixels.push_back(random_pixels(i));
    want.push_back(results(*network(1), pixels[i]));
  }
  std::atomic<int> wrong{0};
  at_once(kSessions, [&](size_t i) {
    for (size_t life = 0; life < 2; ++life) {  // engines are built and destroyed while others run
      const auto engine = network(1 + (i + life) % 3);
      for (int round = 0; round < 5; ++round) wrong += results(*engine, pixels[i]) != want[i];
    }
  });
  CHECK_NOTE(wrong == 0, std::to_string(wrong) + " wrong results");
}

TEST(callers_share_an_engine) {
  constexpr size_t kCallers = 4;
  for (size_t threads : {1, 3}) {
    const auto engine = network(threads);
    std::vector<Pixels> pixels;
    std::vector<Floats> floats, want;
    for (unsigned i = 0; i < kCallers; ++i) {
      pixels.push_back(random_pixels(i));
      floats.push_back(as_floats(pixels[i]));
      want.push_back(results(*engine, pixels[i]));
    }
    std::atomic<int> wrong{0};
    at_once(kCallers, [&](size_t i) {
      for (int round = 0; round < 5; ++round) {
        wrong += results(*engine, pixels[i]) != want[i];
        wrong += results(*engine, floats[i]) != want[i];
      }
    });
    CHECK_NOTE(wrong == 0, std::to_string(wrong) + " wrong results of " + std::to_string(threads) + " threads");
  }
}

RUN_TESTS()
