// Times the binary convolution, bits in and floats out, on the layers of a ResNet: every instruction set that runs
// here.
//
//   bench_binary_conv [seconds per row]
//
// Prints one JSON object per line, after the results were checked against a naive implementation. The time is that of
// the whole node: padding, counting, affine, store. `gops` counts a multiplication and an addition as two operations.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "onebit/engine.h"

using namespace onebit;

namespace {

struct Layer {
  size_t channels, side;
};
constexpr Layer kLayers[] = {{64, 56}, {128, 28}, {256, 14}, {512, 7}};

std::mt19937 random_bits(1);

int differing(uint32_t a, uint32_t b) {
  int count = 0;
  for (uint32_t x = a ^ b; x; x &= x - 1) ++count;
  return count;
}

// 3x3, stride 1, padded by one pixel of +1 (bits 0).
std::vector<float> expected(Layer layer, const std::vector<uint32_t>& map, const std::vector<uint32_t>& weight,
                            const std::vector<float>& scale, const std::vector<float>& bias) {
  const size_t words = layer.channels / 32, side = layer.side;
  const std::vector<uint32_t> border(words, 0);
  std::vector<float> y;
  for (size_t i = 0; i < side * side; ++i) {
    for (size_t o = 0; o < layer.channels; ++o) {
      int diff = 0;
      for (size_t tap = 0; tap < 9; ++tap) {
        const size_t row = i / side + tap / 3 - 1, column = i % side + tap % 3 - 1;  // wraps around below 0
        const uint32_t* pixel = row < side && column < side ? &map[(row * side + column) * words] : border.data();
        for (size_t w = 0; w < words; ++w) diff += differing(pixel[w], weight[(o * 9 + tap) * words + w]);
      }
      y.push_back(scale[o] * static_cast<float>(static_cast<int>(9 * layer.channels) - 2 * diff) + bias[o]);
    }
  }
  return y;
}

struct Problem {
  std::vector<float> image, scale, bias, want;
  std::vector<uint32_t> weight;
};

Problem make_problem(Layer layer) {
  const size_t words = layer.channels / 32, pixels = layer.side * layer.side;
  std::vector<uint32_t> map(pixels * words);
  Problem p;
  p.weight.resize(layer.channels * 9 * words);
  for (uint32_t& x : map) x = random_bits();
  for (uint32_t& x : p.weight) x = random_bits();
  for (size_t c = 0; c < layer.channels; ++c) {
    p.scale.push_back(static_cast<float>(random_bits() % 100) / 64.0f);
    p.bias.push_back(static_cast<float>(random_bits() % 100) / 8.0f);
  }
  for (size_t i = 0; i < pixels * layer.channels; ++i) p.image.push_back(map[i / 32] >> i % 32 & 1 ? -1.0f : 1.0f);
  p.want = expected(layer, map, p.weight, p.scale, p.bias);
  return p;
}

// Prints one line; returns false if the results are wrong.
bool bench(Layer layer, const Problem& problem, const char* isa, double seconds) {
  const Shape shape{layer.side, layer.side, layer.channels};
  const std::vector<float> zeros(layer.channels, 0.0f), ones(layer.channels, 1.0f);
  Builder builder("x", shape, zeros, ones, {1, isa, false});
  builder.elementwise("sign", "x", {Step::binarize("bits", Rule::sign)});
  builder.binary_conv2d("conv", "bits", {{3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, layer.channels}, 1, problem.weight,
                        {Step::affine(problem.scale, problem.bias), Step::store("y")});
  const auto engine = builder.finish("y");
  std::vector<float> y(problem.want.size());
  engine->run(problem.image.data(), 1, y.data());
  if (y != problem.want) {
    std::fprintf(stderr, "%s is wrong on %zu channels; not timing a wrong answer\n", isa, layer.channels);
    return false;
  }
  std::vector<int64_t> times;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (times.size() < 11 || std::chrono::steady_clock::now() < deadline) {
    int64_t node_ns[2] = {};
    engine->run(problem.image.data(), 1, y.data(), node_ns);
    times.push_back(node_ns[1]);
  }
  std::sort(times.begin(), times.end());
  const auto median = static_cast<double>(times[times.size() / 2]),
             p90 = static_cast<double>(times[times.size() * 9 / 10]);
  const NodeInfo& node = engine->nodes()[1];
  std::printf(
      "{\"machine\": \"%s\", \"isa\": \"%s\", \"kernel\": \"%s\", \"shape\": \"%zux%zux%zu 3x3\", \"threads\": 1, "
      "\"median_us\": %.1f, \"p90_us\": %.1f, \"count\": %zu, \"gops\": %.0f}\n",
      cpu_name().c_str(), isa, node.kernel.c_str(), layer.side, layer.side, layer.channels, median / 1e3, p90 / 1e3,
      times.size(), 2 * static_cast<double>(node.macs) / median);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 0.5;
  for (const Layer layer : kLayers) {
    const Problem problem = make_problem(layer);
    for (const Isa isa : kIsas) {
      if (!built_for(isa) || !cpu_has(isa)) continue;
      if (!bench(layer, problem, name(isa), seconds)) return EXIT_FAILURE;
    }
  }
  return EXIT_SUCCESS;
}
