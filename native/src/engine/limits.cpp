// Measures the limits of a core, and the binary convolution kernel alone.
#include "onebit/limits.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>
#include <stdexcept>

#include "kernels/limits/limits.h"
#include "ops/conv_plan.h"

namespace onebit {
namespace {

constexpr size_t kRounds = 4000;   // about 50 us, so that interruptions affect only a few of the repeats
constexpr size_t kRepeats = 80;    // long enough for the clock frequency to settle
constexpr size_t kMaxSize = 8192;  // of a timed convolution

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class Work>
double shortest(size_t repeats, Work work) {
  double best = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

// The rate of all threads of the pool together, by the first loop of this kind that the CPU supports.
double rate(Isa isa, LimitLoop LimitLoops::* kind, ThreadPool& pool) {
  const size_t threads = pool.threads();
  const size_t rounds = threads > 1 ? 4 * kRounds : kRounds;  // starting threads takes time
  for (const LimitLoops* loops : kLimitLoops) {
    const LimitLoop& loop = loops->*kind;
    if (!loop.run || !includes(isa, loops->isa) || !cpu_has(loop.feature)) continue;
    const auto together = [&] { pool.for_each(threads, [&](size_t, size_t) { loop.run(rounds); }); };
    return static_cast<double>(threads * loop.macs * rounds) / shortest(kRepeats, together);
  }
  return 0;
}

// A prepared map of noise.
AlignedBytes noise_map(const BinaryConvKernel& kernel, const ConvPlan& plan, size_t words) {
  std::mt19937 random_bits(1);
  const AlignedBytes plain((plan.padded_height * plan.padded_width * words + words + kRowSlack) * sizeof(uint32_t));
  const size_t row = plan.padded_width * words;
  std::generate_n(plain.as<uint32_t>(), plan.padded_height * row, random_bits);
  AlignedBytes prepared(plan.prepared_bytes());
  for (size_t y = 0; y < plan.padded_height; ++y) {
    const uint32_t* from = plain.as<uint32_t>() + y * row;
    uint8_t* to = prepared.data() + y * plan.padded_width * plan.pixel_bytes;
    if (kernel.prepare) {
      kernel.prepare(from, plan.padded_width, words, 1, to);
    } else {
      std::copy_n(reinterpret_cast<const uint8_t*>(from), row * sizeof(uint32_t), to);
    }
  }
  return prepared;
}

}  // namespace

Limits measure_limits(Isa isa, size_t threads) {
  choose_isa(name(isa));  // throws if it cannot run here
  if (threads < 1 || threads > ThreadPool::kMaxThreads) {
    throw std::invalid_argument("threads must be from 1 to 1024, got " + std::to_string(threads));
  }
  ThreadPool pool(threads);
  return {rate(isa, &LimitLoops::binary, pool), rate(isa, &LimitLoops::float32, pool),
          rate(isa, &LimitLoops::int8, pool)};
}

double time_binary_kernel(Isa isa, Shape input, size_t out_channels, size_t side, size_t repeats) {
  choose_isa(name(isa));
  for (const size_t size : {input.height, input.width, input.channels, out_channels, side, repeats}) {
    if (size < 1 || size > kMaxSize) {
      throw std::invalid_argument("sizes and repeats must be from 1 to " + std::to_string(kMaxSize) + ", got " +
                                  std::to_string(size));
    }
  }
  if (side > std::min(input.height, input.width)) throw std::invalid_argument("the kernel is larger than the map");
  const size_t words = words_for(input.channels), padding = (side - 1) / 2;
  const Convolution geometry{{side, side}, {1, 1}, {padding, padding}, {1, 1}, 1, out_channels};
  const size_t run_words = ConvPlan::neighbors(geometry) * words;
  const BinaryConvKernel& kernel = *kernels_for(isa, run_words).binary_conv;
  const ConvPlan plan(input, geometry, words * kernel.word_bytes);
  const AlignedBytes prepared = noise_map(kernel, plan, words);
  const size_t block_words = plan.taps() * words, block_bytes = block_words * kBlock * kernel.weight_bytes;
  const AlignedBytes weights(block_bytes);
  const std::vector<uint32_t> row(block_words, 0x5A5A5A5Au);
  const std::vector<const uint32_t*> rows(kBlock, row.data());
  kernel.pack_weights(rows.data(), kBlock, plan.runs.size(), run_words, weights.data());
  const size_t spans = plan.output.vertical * plan.spans_per_row(kernel.span), tile = kernel.pixels / kernel.span;
  alignas(64) int32_t diff[kMaxPixels * kBlock];
  return shortest(repeats, [&] {
    for (const ConvPlan::Block& block : plan.blocks) {
      for (size_t from = 0; from < spans; from += tile) {
        const uint8_t* first[kMaxPixels];
        const size_t count = std::min(tile, spans - from);
        plan.locate(prepared.data(), kernel.span, from, count, first);
        kernel.count({first, count, plan.runs.data(), plan.runs.size(), run_words, weights.data(), block.rows(), diff});
      }
    }
  });
}

}  // namespace onebit
