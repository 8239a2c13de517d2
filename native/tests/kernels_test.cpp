// Every kernel of every table that this CPU supports against a naive implementation, with guards around its outputs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/aligned.h"
#include "check.h"
#include "kernels/binary_conv/binary_conv.h"
#include "kernels/epilogue/epilogue.h"
#include "kernels/float_conv/float_conv.h"
#include "kernels/int8_conv/int8_conv.h"

using namespace onebit;

namespace {

constexpr size_t kGuard = 64;
std::mt19937 random_bits(1);  // fixed, so a failure can be repeated

float random_float() { return static_cast<float>(static_cast<int>(random_bits() % 2001) - 1000) / 256.0f; }

// Conversions between float32 and float16 as IEEE 754 defines them.
float plain_float(Half half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double size = exponent == 31  ? (fraction ? NAN : INFINITY)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(half & 0x8000 ? -size : size);
}

Half plain_half(float x) {
  const double size = std::fabs(x);
  unsigned low = 0, high = 0x7C00;  // the first above `size`: infinity stands for 65536
  const auto at = [](unsigned half) { return half == 0x7C00 ? 65536.0 : plain_float(static_cast<Half>(half)); };
  if (size >= 65536) low = 0x7C00;
  while (high - low > 1) {
    const unsigned middle = (low + high) / 2;
    (at(middle) <= size ? low : high) = middle;
  }
  const double below = size - at(low), above = at(high) - size;
  const unsigned nearest = low == high || below < above || (below == above && low % 2 == 0) ? low : high;
  return static_cast<Half>(nearest | (std::signbit(x) ? 0x8000 : 0));
}

bool same(float a, float b) { return a == b ? std::signbit(a) == std::signbit(b) : std::isnan(a) && std::isnan(b); }

int differing(uint32_t a, uint32_t b) {
  int count = 0;
  for (uint32_t x = a ^ b; x; x &= x - 1) ++count;
  return count;
}

template <class Kernel>
bool has_feature(const Kernel&) {
  return true;
}
bool has_feature(const Int8ConvKernel& kernel) { return cpu_has(kernel.feature); }

template <class Kernel>
bool skip(const Kernel& kernel) {
  if (cpu_has(kernel.isa) && has_feature(kernel)) return false;
  std::printf("     no %s here: skipping %s\n", name(kernel.isa), kernel.name);
  return true;
}

std::string describe(const char* kernel, size_t pixels, size_t channels, size_t runs, size_t words) {
  return std::string(kernel) + " pixels " + std::to_string(pixels) + " channels " + std::to_string(channels) +
         " runs " + std::to_string(runs) + "x" + std::to_string(words);
}

// Spans start anywhere in one long row of one-word pixels; the pixels of a span are `distance` apart.
void check_binary_tile(const BinaryConvKernel& kernel, size_t spans, size_t channels, size_t run_count,
                       size_t run_words, bool extreme) {
  if (check::left_out()) return;
  constexpr size_t kDistance = 2;
  const size_t depth = run_count * run_words, pixels = spans * kernel.span, map_words = 3 * depth + 2 * kMaxPixels;
  std::vector<uint32_t> map(map_words + kDistance + kRowSlack), plain(channels * depth);
  for (size_t i = 0; i < map_words; ++i) map[i] = extreme ? 0xFFFFFFFFu : random_bits();
  if (!extreme) std::generate(plain.begin(), plain.end(), std::ref(random_bits));
  const size_t prepared_bytes = map_words * kernel.word_bytes;
  std::vector<uint8_t> prepared(prepared_bytes + kGuard, 0xA5);
  if (kernel.prepare) {
    kernel.prepare(map.data(), map_words, 1, kDistance, prepared.data());
  } else {
    std::memcpy(prepared.data(), map.data(), prepared_bytes);
  }
  for (size_t i = prepared_bytes; i < prepared.size(); ++i) CHECK_NOTE(prepared[i] == 0xA5, kernel.name);
  const AlignedBytes weights(depth * kBlock * kernel.weight_bytes);
  std::vector<const uint32_t*> rows;
  for (size_t c = 0; c < channels; ++c) rows.push_back(plain.data() + c * depth);
  kernel.pack_weights(rows.data(), channels, run_count, run_words, weights.data());

  std::vector<size_t> starts;
  std::vector<const uint8_t*> addresses;
  for (size_t s = 0; s < spans; ++s) {
    starts.push_back((s * 5) % kMaxPixels);
    addresses.push_back(prepared.data() + starts[s] * kernel.word_bytes);
  }
  std::vector<ptrdiff_t> runs;
  for (size_t r = 0; r < run_count; ++r) runs.push_back(static_cast<ptrdiff_t>(2 * r * run_words * kernel.word_bytes));

  std::vector<int32_t> diff(kMaxPixels * kBlock + 2 * kGuard, -77);
  int32_t* const inside = diff.data() + kGuard;
  kernel.count({addresses.data(), spans, runs.data(), run_count, run_words, weights.data(), channels, inside});
  const std::string note = describe(kernel.name, pixels, channels, run_count, run_words);
  for (size_t i = 0; i < kGuard; ++i) CHECK_NOTE(diff[i] == -77, note);
  for (size_t i = kGuard + pixels * kBlock; i < diff.size(); ++i) CHECK_NOTE(diff[i] == -77, note);
  for (size_t p = 0; p < pixels; ++p) {
    const size_t start = starts[p / kernel.span] + p % kernel.span * kDistance;
    for (size_t c = 0; c < channels; ++c) {
      int32_t want = 0;
      for (size_t k = 0; k < depth; ++k) {
        want += differing(map[start + 2 * (k / run_words) * run_words + k % run_words], rows[c][k]);
      }
      CHECK_NOTE(inside[p * kBlock + c] == want, note);
    }
  }
}

}  // namespace

TEST(binary_conv_counts_exactly) {
  for (const BinaryConvKernel* kernel : kBinaryConvKernels) {
    if (skip(*kernel)) continue;
    CHECK(kernel->pixels <= kMaxPixels && kernel->pixels % kernel->span == 0);
    for (size_t spans = 1; spans <= kernel->pixels / kernel->span; ++spans) {
      for (size_t channels : {1, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64}) {
        for (size_t run_words : {1, 2, 3, 6, 7, 8, 12, 31})
          check_binary_tile(*kernel, spans, channels, 3, run_words, false);
        check_binary_tile(*kernel, spans, channels, 1, 1, true);
        check_binary_tile(*kernel, spans, channels, 9, 1, false);
      }
    }
  }
}

// 8-bit and 16-bit accumulators overflow first if all bits differ.
TEST(binary_conv_survives_the_largest_counts) {
  for (const BinaryConvKernel* kernel : kBinaryConvKernels) {
    if (skip(*kernel)) continue;
    for (size_t spans : {size_t{1}, kernel->pixels / kernel->span}) {
      for (size_t run_words : {7, 8, 31, 32, 681, 682, 2044, 2045, 4096}) {
        for (size_t channels : {32, 64}) check_binary_tile(*kernel, spans, channels, 3, run_words, true);
      }
    }
  }
}

TEST(float_conv_multiplies) {
  for (const FloatConvKernel* kernel : kFloatConvKernels) {
    if (skip(*kernel)) continue;
    CHECK(kernel->pixels <= kMaxPixels && kBlock % kernel->panel == 0);
    for (size_t pixels = 1; pixels <= kernel->pixels; ++pixels) {
      for (size_t channels : {1, 3, 8, 10, 16, 17, 33, 63, 64}) {
        for (size_t run_floats : {1, 2, 3, 4, 5, 9, 64}) {
          constexpr size_t kRuns = 3;
          const size_t depth = kRuns * run_floats;
          std::vector<float> map(3 * depth + kMaxPixels), plain(depth * kBlock);
          for (float& x : map) x = random_float();
          for (float& x : plain) x = random_float();
          const size_t panels = (channels + kernel->panel - 1) / kernel->panel;
          const AlignedBytes weights(panels * kernel->panel * depth * sizeof(float));
          for (size_t c = 0; c < channels; ++c) {
            for (size_t k = 0; k < depth; ++k) {
              const size_t panel = c / kernel->panel;
              weights.as<float>()[(panel * depth + k) * kernel->panel + c % kernel->panel] = plain[k * kBlock + c];
            }
          }
          std::vector<const uint8_t*> addresses;
          for (size_t p = 0; p < pixels; ++p) addresses.push_back(reinterpret_cast<const uint8_t*>(map.data() + p));
          std::vector<ptrdiff_t> runs;
          for (size_t r = 0; r < kRuns; ++r) runs.push_back(static_cast<ptrdiff_t>(2 * r * run_floats * sizeof(float)));
          std::vector<float> y(kMaxPixels * kBlock + 2 * kGuard, -77.0f);
          float* const inside = y.data() + kGuard;
          kernel->multiply(
              {addresses.data(), pixels, runs.data(), kRuns, run_floats, weights.as<float>(), channels, inside});
          const std::string note = describe(kernel->name, pixels, channels, kRuns, run_floats);
          for (size_t i = 0; i < kGuard; ++i) CHECK_NOTE(y[i] == -77.0f, note);
          for (size_t i = kGuard + pixels * kBlock; i < y.size(); ++i) CHECK_NOTE(y[i] == -77.0f, note);
          for (size_t p = 0; p < pixels; ++p) {
            for (size_t c = 0; c < channels; ++c) {
              double want = 0, size = 1;
              for (size_t k = 0; k < depth; ++k) {
                const double term =
                    double{map[p + 2 * (k / run_floats) * run_floats + k % run_floats]} * plain[k * kBlock + c];
                want += term;
                size += std::fabs(term);
              }
              CHECK_NOTE(std::fabs(inside[p * kBlock + c] - want) <= 1e-6 * size, note);
            }
          }
        }
      }
    }
  }
}

TEST(float_conv_finds_results) {
  constexpr double kPoint[] = {0, 1, -1, 0.5, -2, 2};
  constexpr size_t kTiles = 5, kStep = kBlock + 3;
  for (const FloatConvKernel* kernel : kFloatConvKernels) {
    if (skip(*kernel)) continue;
    for (size_t points : {3, 4, 5, 6}) {
      std::vector<float> sums((points + 1) * kTiles * kStep), out(kTiles * 4 * kStep, -77.0f);
      for (float& x : sums) x = random_float();
      std::vector<const float*> at_point;
      for (size_t i = 0; i <= points; ++i) at_point.push_back(sums.data() + i * kTiles * kStep);
      kernel->find_results({at_point.data(), points, kTiles, kStep, kernel->panel, out.data()});
      const std::string note = describe(kernel->name, points, kernel->panel, kTiles, kStep);
      for (size_t i = 0; i < out.size(); ++i) {
        const size_t tile = i / kStep / 4, k = i / kStep % 4, c = i % kStep;
        double want = k == 3 ? at_point[points][tile * kStep + c] : 0, size = 1 + std::fabs(want);
        for (size_t p = 0; p < points; ++p) {
          const double term = std::pow(kPoint[p], static_cast<double>(k)) * at_point[p][tile * kStep + c];
          want += term;
          size += std::fabs(term);
        }
        if (c >= kernel->panel) {
          CHECK_NOTE(out[i] == -77.0f, note);
        } else {
          CHECK_NOTE(std::fabs(out[i] - want) <= 1e-6 * size, note);
        }
      }
    }
  }
}

TEST(float_conv_combines) {
  for (const FloatConvKernel* kernel : kFloatConvKernels) {
    if (skip(*kernel)) continue;
    for (size_t length : {16, 32, 48, 64, 144}) {
      for (size_t term_count : {1, 2, 7, 13}) {
        constexpr size_t kRepeats = 3;
        const size_t step = length + 5, out_step = length + 16;
        std::vector<float> map(term_count + kRepeats * step), factors(term_count);
        for (float& x : map) x = random_float();
        for (float& x : factors) x = random_float();
        std::vector<const float*> terms;
        for (size_t k = 0; k < term_count; ++k) terms.push_back(map.data() + k);
        std::vector<float> out(kRepeats * out_step, -77.0f);
        kernel->combine({terms.data(), factors.data(), term_count, step, length, kRepeats, out.data(), out_step});
        const std::string note = describe(kernel->name, term_count, length, kRepeats, step);
        for (size_t i = 0; i < out.size(); ++i) {
          double want = 0, size = 1;
          for (size_t k = 0; k < term_count; ++k) {
            const double term = double{factors[k]} * map[i / out_step * step + i % out_step % length + k];
            want += term;
            size += std::fabs(term);
          }
          if (i % out_step >= length) {
            CHECK_NOTE(out[i] == -77.0f, note);
          } else {
            CHECK_NOTE(std::fabs(out[i] - want) <= 1e-6 * size, note);
          }
        }
      }
    }
  }
}

namespace {

// Writes a value in `value_bytes` bytes.
void store_value(const Int8ConvKernel& kernel, uint8_t* array, size_t index, int value) {
  if (kernel.value_bytes == 1) {
    array[index] = static_cast<uint8_t>(value);
  } else {
    reinterpret_cast<int16_t*>(array)[index] = static_cast<int16_t>(value);
  }
}

// `extreme`: 1 or -1 for the largest possible sums of that sign.
void check_int8_tile(const Int8ConvKernel& kernel, size_t pixels, size_t channels, size_t run_values, int extreme) {
  constexpr size_t kRuns = 3;
  const size_t run_words = (run_values + kernel.word_values - 1) / kernel.word_values;
  const size_t values = 3 * kRuns * run_values + kMaxPixels;
  std::vector<int> map(values), plain(kRuns * run_values * kBlock);
  for (int& x : map) x = extreme ? 255 : static_cast<int>(random_bits() % 256);
  for (int& w : plain) w = extreme ? 127 * extreme : static_cast<int>(random_bits() % 255) - 127;
  // One word past the end of the map may be read; it must have no effect.
  const AlignedBytes prepared((values + kernel.word_values) * kernel.value_bytes);
  for (size_t i = 0; i < values + kernel.word_values; ++i) {
    store_value(kernel, prepared.data(), i, i < values ? map[i] - kernel.offset : 77);
  }
  const size_t panel_values = kRuns * run_words * kernel.word_values * kernel.panel;
  const AlignedBytes weights(kBlock / kernel.panel * panel_values * kernel.value_bytes);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t k = 0; k < kRuns * run_values; ++k) {
      const size_t word = k / run_values * run_words + k % run_values / kernel.word_values;
      const size_t lane = word * kernel.panel + c % kernel.panel;
      store_value(kernel, weights.data(),
                  c / kernel.panel * panel_values + lane * kernel.word_values + k % run_values % kernel.word_values,
                  plain[k * kBlock + c]);
    }
  }
  std::vector<const uint8_t*> addresses;
  std::vector<ptrdiff_t> runs;
  std::vector<std::vector<int32_t>> starts(pixels, std::vector<int32_t>(kBlock));
  std::vector<const int32_t*> start;
  for (size_t p = 0; p < pixels; ++p) {
    addresses.push_back(prepared.data() + p * kernel.value_bytes);
    for (int32_t& s : starts[p]) s = extreme ? 0 : static_cast<int32_t>(random_bits() % 100001) - 50000;
    start.push_back(starts[p].data());
  }
  for (size_t r = 0; r < kRuns; ++r) runs.push_back(static_cast<ptrdiff_t>(2 * r * run_values * kernel.value_bytes));
  std::vector<float> scale(kBlock), y(kMaxPixels * kBlock + 2 * kGuard, -77.0f);
  for (float& s : scale) s = random_float();
  float* const inside = y.data() + kGuard;
  kernel.multiply({addresses.data(), pixels, runs.data(), kRuns, run_words, weights.data(), channels, start.data(),
                   scale.data(), inside});
  const std::string note = describe(kernel.name, pixels, channels, kRuns, run_values);
  for (size_t i = 0; i < kGuard; ++i) CHECK_NOTE(y[i] == -77.0f, note);
  for (size_t i = kGuard + pixels * kBlock; i < y.size(); ++i) CHECK_NOTE(y[i] == -77.0f, note);
  for (size_t p = 0; p < pixels; ++p) {
    for (size_t c = 0; c < channels; ++c) {
      int64_t sum = starts[p][c];
      for (size_t k = 0; k < kRuns * run_values; ++k) {
        sum += (map[p + 2 * (k / run_values) * run_values + k % run_values] - kernel.offset) * plain[k * kBlock + c];
      }
      CHECK_NOTE(inside[p * kBlock + c] == scale[c] * static_cast<float>(static_cast<int32_t>(sum)), note);
    }
  }
}

}  // namespace

TEST(int8_conv_multiplies_exactly) {
  for (const Int8ConvKernel* kernel : kInt8ConvKernels) {
    if (skip(*kernel)) continue;
    CHECK(kernel->pixels <= kMaxPixels && kBlock % kernel->panel == 0);
    for (size_t pixels = 1; pixels <= kernel->pixels; ++pixels) {
      for (size_t channels : {1, 3, 8, 10, 16, 17, 33, 48, 63, 64}) {
        for (size_t run_values : {1, 2, 3, 4, 5, 9, 21}) check_int8_tile(*kernel, pixels, channels, run_values, 0);
      }
    }
    for (int sign : {-1, 1}) {
      for (size_t run_values : {1, 9, 10922}) check_int8_tile(*kernel, kernel->pixels, 64, run_values, sign);
    }
  }
}

// Tables start at another entry than the channels, pixels are not adjacent, and nothing else may be written. Maps end
// right after their last channel, so that a sanitizer detects reads past it.
TEST(epilogue_pools_windows) {
  constexpr size_t kPixels = 8, kTaps = 3;
  for (const EpilogueKernel* kernel : kEpilogueKernels) {
    if (skip(*kernel)) continue;
    for (size_t total : {1, 15, 16, 33, 48, 64, 80}) {
      std::vector<Half> halves(kTaps * kPixels * total);
      std::vector<float> map(halves.size()), out(kPixels * total);
      std::vector<float> divisors;
      for (size_t i = 0; i < map.size(); ++i) map[i] = plain_float(halves[i] = plain_half(random_float()));
      std::vector<const uint8_t*> taps, half_taps;
      std::vector<const float*> plain_taps;
      for (size_t i = 0; i < kTaps * kPixels; ++i) {
        const size_t at = (i * 7 % (kTaps * kPixels)) * total;
        taps.push_back(reinterpret_cast<const uint8_t*>(map.data() + at));
        half_taps.push_back(reinterpret_cast<const uint8_t*>(halves.data() + at));
        plain_taps.push_back(map.data() + at);
      }
      for (size_t p = 0; p < kPixels; ++p) divisors.push_back(static_cast<float>(p + 1));
      uint8_t* values[] = {reinterpret_cast<uint8_t*>(out.data())};
      const StepPlan store{StepKind::store};
      for (const auto& [mean, half] : {std::pair{false, false}, {false, true}, {true, false}, {true, true}}) {
        for (size_t c = 0; c < total; c += kBlock) {
          const EpilogueTile tile{&store, 1, values, {}, 0, 1, kPixels, c, c, std::min(kBlock, total - c), total};
          kernel->windows(tile, {(half ? half_taps : taps).data(), kTaps, half, mean ? divisors.data() : nullptr});
        }
        for (size_t p = 0; p < kPixels; ++p) {
          const float* const* tap = plain_taps.data() + p * kTaps;
          for (size_t c = 0; c < total; ++c) {
            const float want =
                mean ? (tap[0][c] + tap[1][c] + tap[2][c]) / divisors[p] : std::max({tap[0][c], tap[1][c], tap[2][c]});
            CHECK_NOTE(out[p * total + c] == want, kernel->name + (" channels " + std::to_string(total)));
          }
        }
      }
    }
  }
}

// Widens every half; rounds every float that is a half or the midpoint of two, and its neighbors.
TEST(epilogue_widens_and_rounds_halves) {
  std::vector<Half> halves(65536);
  std::vector<float> floats(halves.size()), others;
  for (size_t i = 0; i < halves.size(); ++i) floats[i] = plain_float(halves[i] = static_cast<Half>(i));
  for (unsigned i = 0; i < 0x7C00; ++i) {
    const float here = plain_float(static_cast<Half>(i)),
                next = i == 0x7BFF ? 65536.0f : plain_float(static_cast<Half>(i + 1));
    for (const float x : {here, (here + next) / 2}) {
      for (const float y : {x, std::nextafter(x, INFINITY), std::nextafter(x, -INFINITY)}) {
        others.insert(others.end(), {y, -y});
      }
    }
  }
  for (const float x : {65536.0f, 1e30f, INFINITY, std::numeric_limits<float>::denorm_min(), 0.0f}) {
    others.insert(others.end(), {x, -x, x});
  }
  others.push_back(NAN);
  for (const EpilogueKernel* kernel : kEpilogueKernels) {
    if (skip(*kernel)) continue;
    for (const size_t count : {size_t{65536}, size_t{1}, size_t{7}, size_t{15}, size_t{17}}) {
      std::vector<float> got(count + kGuard, -77.0f);
      const size_t from = 65536 - count;
      kernel->widen(halves.data() + from, count, got.data());
      for (size_t i = 0; i < got.size(); ++i) {
        CHECK_NOTE(same(got[i], i < count ? floats[from + i] : -77.0f), kernel->name + (" " + std::to_string(i)));
      }
    }
    for (const size_t total : {64, 48, 5}) {
      const size_t pixels = others.size() / total + 1;
      std::vector<float> y(pixels * total);
      std::copy(others.begin(), others.end(), y.begin());
      std::vector<Half> got(y.size() + kGuard, 0x5A5A);
      uint8_t* values[] = {reinterpret_cast<uint8_t*>(got.data())};
      StepPlan store{StepKind::store};
      store.half = true;
      kernel->floats({&store, 1, values, {}, 0, 1, pixels, 0, 0, total, total}, y.data(), total);
      for (size_t i = 0; i < got.size(); ++i) {
        if (i < y.size() && std::isnan(y[i])) {
          CHECK_NOTE(std::isnan(plain_float(got[i])), kernel->name);
        } else {
          CHECK_NOTE(got[i] == (i < y.size() ? plain_half(y[i]) : 0x5A5A),
                     kernel->name + (" of " + std::to_string(y[i])));
        }
      }
    }
  }
}

TEST(epilogue_writes_its_pixels_only) {
  constexpr size_t kTotal = 130, kTable = 96, kPixels = 7, kFirst = 2;
  const size_t words = words_for(kTotal);
  for (const EpilogueKernel* kernel : kEpilogueKernels) {
    if (skip(*kernel)) continue;
    for (const auto& [step, half] : {std::pair<size_t, bool>{1, false}, {2, false}, {1, true}, {2, true}}) {
      for (const auto& [channel, channels] :
           {std::pair<size_t, size_t>{0, 64}, {64, 64}, {128, 2}, {0, 33}, {32, 16}, {64, 32}, {0, 48}}) {
        const size_t map_pixels = kFirst + (kPixels - 1) * step + 2;
        std::vector<float> first(kTable + 2 * kBlock), second(first), added(map_pixels * kTotal), y(kPixels * kBlock);
        for (auto* table : {&first, &second, &added, &y}) {
          for (float& v : *table) v = random_float();
        }
        std::vector<int32_t> below(first.size()), diff(y.size()), depth(kBlock, 50);
        std::vector<uint32_t> flip(first.size() / kWordBits);
        for (int32_t& v : below) v = static_cast<int32_t>(random_bits() % 41) - 20;
        for (int32_t& v : diff) v = static_cast<int32_t>(random_bits() % 51);
        for (uint32_t& v : flip) v = random_bits();
        std::vector<Half> half_added, halves(map_pixels * kTotal, 0x5A5A);
        for (float& v : added) v = plain_float(half_added.emplace_back(plain_half(v)));
        std::vector<float> floats(map_pixels * kTotal, -77.0f);
        std::vector<uint32_t> bits(map_pixels * words, 0xA5A5A5A5u), low(bits);
        uint8_t* values[] = {
            half ? reinterpret_cast<uint8_t*>(half_added.data()) : reinterpret_cast<uint8_t*>(added.data()),
            half ? reinterpret_cast<uint8_t*>(halves.data()) : reinterpret_cast<uint8_t*>(floats.data()),
            reinterpret_cast<uint8_t*>(bits.data()), reinterpret_cast<uint8_t*>(low.data())};
        StepPlan affine{StepKind::affine}, add{StepKind::add}, store{StepKind::store}, binarize{StepKind::binarize};
        affine.first = first.data();
        affine.second = second.data();
        add.half = store.half = half;
        store.value = 1;
        binarize.value = 2;
        binarize.first = second.data();
        const StepPlan steps[] = {affine, add, store, binarize};
        kernel->floats({steps, 4, values, {}, kFirst, step, kPixels, channel, kTable, channels, kTotal}, y.data(),
                       kBlock);
        StepPlan threshold{StepKind::threshold};
        threshold.below = below.data();
        threshold.flip = flip.data();
        threshold.value = 3;
        const std::vector<const int32_t*> depths(kPixels, depth.data());
        kernel->counts({&threshold, 1, values, {}, kFirst, step, kPixels, channel, kTable, channels, kTotal},
                       diff.data(), kBlock, depths.data());

        std::vector<Half> want_halves(halves.size(), 0x5A5A);
        std::vector<float> want(floats.size(), -77.0f);
        std::vector<uint32_t> want_bits(bits.size(), 0xA5A5A5A5u), want_low(want_bits);
        for (size_t p = 0; p < kPixels; ++p) {
          const size_t pixel = kFirst + p * step;
          for (size_t w = channel / kWordBits; w < words_for(channel + channels); ++w) {
            want_bits[pixel * words + w] = want_low[pixel * words + w] = 0;
          }
          for (size_t c = 0; c < channels; ++c) {
            const size_t at = pixel * kTotal + channel + c, word = pixel * words + (channel + c) / kWordBits;
            want[at] = first[kTable + c] * y[p * kBlock + c] + second[kTable + c] + added[at];
            want_halves[at] = plain_half(want[at]);
            const bool is_low = 50 - 2 * diff[p * kBlock + c] < below[kTable + c];
            const bool flipped = flip[(kTable + c) / kWordBits] >> c % kWordBits & 1;
            if (want[at] < second[kTable + c]) want_bits[word] |= 1u << c % kWordBits;
            if (is_low != flipped) want_low[word] |= 1u << c % kWordBits;
          }
        }
        const std::string note = std::string(kernel->name) + " step " + std::to_string(step) + " channels " +
                                 std::to_string(channel) + " + " + std::to_string(channels);
        if (half) {
          CHECK_NOTE(halves == want_halves, note);
        } else {
          CHECK_NOTE(floats == want, note);
        }
        CHECK_NOTE(bits == want_bits, note);
        CHECK_NOTE(low == want_low, note);
      }
    }
  }
}

RUN_TESTS()
