// Whole engines, op by op, against naive implementations: every instruction set that runs here, unusual shapes, and
// one thread against several.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <tuple>

#include "check.h"
#include "onebit/engine.h"

using namespace onebit;

namespace {

std::mt19937 random_bits(7);  // fixed, so a failure can be repeated

using Floats = std::vector<float>;
using Words = std::vector<uint32_t>;

size_t words_for(size_t channels) { return (channels + 31) / 32; }
size_t elements(Shape s) { return s.height * s.width * s.channels; }

// Halves from -4 to 4: exact, with many zeros and ties.
Floats random_floats(size_t count) {
  Floats out(count);
  for (float& x : out) x = static_cast<float>(static_cast<int>(random_bits() % 17) - 8) / 2;
  return out;
}

Floats random_signs(size_t count) {
  Floats out(count);
  for (float& x : out) x = random_bits() & 1 ? -1.0f : 1.0f;
  return out;
}

// Rows of `channels` signs, packed; 1 is -1.
Words pack(const Floats& signs, size_t channels) {
  Words out(signs.size() / channels * words_for(channels));
  for (size_t i = 0; i < signs.size(); ++i) {
    const size_t row = i / channels, c = i % channels;
    if (signs[i] < 0) out[row * words_for(channels) + c / 32] |= 1u << c % 32;
  }
  return out;
}

std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (Isa isa : kIsas) {
    if (built_for(isa) && cpu_has(isa)) names.push_back(name(isa));
  }
  return names;
}

struct Case {
  Shape input;
  Convolution conv;
  int pad_value = 0;
  size_t shuffle = 1;

  std::string text() const {
    const auto pair = [](Pair p) { return std::to_string(p.vertical) + "x" + std::to_string(p.horizontal); };
    return std::to_string(input.height) + "x" + std::to_string(input.width) + "x" + std::to_string(input.channels) +
           " -> " + std::to_string(conv.out_channels) + " kernel " + pair(conv.kernel) + " stride " +
           pair(conv.stride) + " padding " + pair(conv.padding) + " dilation " + pair(conv.dilation) + " groups " +
           std::to_string(conv.groups) + " pad " + std::to_string(pad_value) + " shuffle " + std::to_string(shuffle);
  }
};

Shape output_shape(const Case& t) {
  const auto side = [](size_t n, size_t k, size_t s, size_t p, size_t d) {
    return (n + 2 * p - d * (k - 1) - 1) / s + 1;
  };
  const Convolution& g = t.conv;
  return {side(t.input.height, g.kernel.vertical, g.stride.vertical, g.padding.vertical, g.dilation.vertical),
          side(t.input.width, g.kernel.horizontal, g.stride.horizontal, g.padding.horizontal, g.dilation.horizontal),
          g.out_channels};
}

// Rows of `channels` numbers, with channel g * n + i of each moved to channel i * groups + g.
Floats shuffle_rows(const Floats& rows, size_t channels, size_t groups) {
  Floats out(rows.size());
  const size_t n = channels / groups;
  for (size_t row = 0; row < rows.size(); row += channels) {
    for (size_t g = 0; g < groups; ++g) {
      for (size_t i = 0; i < n; ++i) out[row + i * groups + g] = rows[row + g * n + i];
    }
  }
  return out;
}

// The definition, in double: exact for the numbers of these tests.
std::vector<double> convolve_exactly(const Case& t, const Floats& x, const Floats& weight) {
  const Convolution& g = t.conv;
  const Shape out = output_shape(t);
  const size_t depth = t.input.channels / g.groups, group_out = g.out_channels / g.groups;
  std::vector<double> y;
  for (size_t oy = 0; oy < out.height; ++oy) {
    for (size_t ox = 0; ox < out.width; ++ox) {
      for (size_t o = 0; o < out.channels; ++o) {
        double sum = 0;
        for (size_t ky = 0; ky < g.kernel.vertical; ++ky) {
          for (size_t kx = 0; kx < g.kernel.horizontal; ++kx) {
            const auto iy = static_cast<long>(oy * g.stride.vertical + ky * g.dilation.vertical) -
                            static_cast<long>(g.padding.vertical);
            const auto ix = static_cast<long>(ox * g.stride.horizontal + kx * g.dilation.horizontal) -
                            static_cast<long>(g.padding.horizontal);
            const bool inside =
                iy >= 0 && ix >= 0 && iy < static_cast<long>(t.input.height) && ix < static_cast<long>(t.input.width);
            for (size_t c = 0; c < depth; ++c) {
              const size_t at = (static_cast<size_t>(iy) * t.input.width + static_cast<size_t>(ix)) * t.input.channels +
                                o / group_out * depth + c;
              const double value = inside ? x[at] : t.pad_value;
              sum += value * weight[((o * g.kernel.vertical + ky) * g.kernel.horizontal + kx) * depth + c];
            }
          }
        }
        y.push_back(sum);
      }
    }
  }
  return y;
}

Floats convolve(const Case& t, const Floats& x, const Floats& weight) {
  const std::vector<double> y = convolve_exactly(t, x, weight);
  return Floats(y.begin(), y.end());
}

Builder start(Shape shape, const std::string& isa, size_t threads) {
  return Builder("x", shape, Floats(shape.channels, 0.5f), Floats(shape.channels, 0.25f), {threads, isa, true});
}

const void* value(const Engine& engine, const std::string& name) {
  for (size_t i = 0; i < engine.values().size(); ++i) {
    if (engine.values()[i].name == name) return engine.value(i);
  }
  check::fail(__FILE__, __LINE__, "no value " + name);
  return nullptr;
}

bool same_bits(const Engine& engine, const std::string& name, const Words& want) {
  return std::memcmp(value(engine, name), want.data(), want.size() * sizeof(uint32_t)) == 0;
}

bool same_floats(const Engine& engine, const std::string& name, const Floats& want) {
  return std::memcmp(value(engine, name), want.data(), want.size() * sizeof(float)) == 0;
}

void check_binary_conv(const Case& t) {
  if (check::left_out()) return;
  const Shape out = output_shape(t);
  const size_t channels = out.channels, depth = t.input.channels / t.conv.groups;
  const Floats x = random_signs(elements(t.input));
  const Floats weight = random_signs(channels * t.conv.kernel.vertical * t.conv.kernel.horizontal * depth);
  const Floats sums = shuffle_rows(convolve(t, x, weight), channels, t.shuffle);
  const Floats scale = random_floats(channels), bias = random_floats(channels);
  std::vector<int32_t> below(channels);
  for (int32_t& b : below) b = static_cast<int32_t>(random_bits() % 21) - 10;
  const Floats flips = random_signs(channels);
  Floats scaled, thresholded;
  for (size_t i = 0; i < sums.size(); ++i) {
    const size_t c = i % channels;
    scaled.push_back(scale[c] * sums[i] + bias[c]);
    const bool low = (sums[i] < static_cast<float>(below[c])) != (flips[c] < 0);
    thresholded.push_back(low ? -1.0f : 1.0f);
  }
  for (const std::string& isa : usable_isas()) {
    for (size_t threads : {1, 3}) {
      Builder b = start(t.input, isa, threads);
      b.elementwise("sign", "x", {Step::binarize("bits", Rule::sign)});
      b.binary_conv2d("raw", "bits", t.conv, t.pad_value, pack(weight, depth), {Step::store("sums")}, t.shuffle);
      b.binary_conv2d("affine", "bits", t.conv, t.pad_value, pack(weight, depth),
                      {Step::affine(scale, bias), Step::store("scaled"), Step::binarize("signs", Rule::step)},
                      t.shuffle);
      b.binary_conv2d("threshold", "bits", t.conv, t.pad_value, pack(weight, depth),
                      {Step::threshold("low", below, pack(flips, channels))}, t.shuffle);
      const auto engine = b.finish("scaled");
      Floats got(scaled.size());
      engine->run(x.data(), 1, got.data());
      const std::string note = isa + " threads " + std::to_string(threads) + " " + t.text();
      CHECK_NOTE(same_floats(*engine, "sums", sums), note);
      CHECK_NOTE(got == scaled, note);
      Floats signs;
      for (float y : scaled) signs.push_back(y <= 0 ? -1.0f : 1.0f);
      CHECK_NOTE(same_bits(*engine, "signs", pack(signs, channels)), note);
      CHECK_NOTE(same_bits(*engine, "low", pack(thresholded, channels)), note);
    }
  }
}

void check_float_conv(Case t) {
  if (check::left_out()) return;
  t.pad_value = 0;
  const size_t depth = t.input.channels / t.conv.groups;
  const size_t weights = t.conv.out_channels * t.conv.kernel.vertical * t.conv.kernel.horizontal * depth;
  const Floats x = random_floats(elements(t.input)), weight = random_floats(weights), signs = random_signs(weights);
  const Floats want = convolve(t, x, weight), want_signs = convolve(t, x, signs);
  for (const std::string& isa : usable_isas()) {
    for (size_t threads : {1, 3}) {
      Builder b = start(t.input, isa, threads);
      b.conv2d("real", "x", t.conv, weight, {Step::store("y")});
      b.conv2d_bits("signs", "x", t.conv, pack(signs, depth), {Step::store("z")});
      const auto engine = b.finish("y");
      Floats got(want.size());
      engine->run(x.data(), 1, got.data());
      const std::string note = isa + " threads " + std::to_string(threads) + " " + t.text();
      CHECK_NOTE(got == want, note);
      CHECK_NOTE(same_floats(*engine, "z", want_signs), note);
    }
  }
}

// These pixels and weights are integers, which floats represent exactly, so the float definition applies; taps outside
// the map are 0 in both sums.
void check_int8_conv(Case t) {
  t.pad_value = 0;
  const size_t channels = t.conv.out_channels, depth = t.input.channels / t.conv.groups;
  std::vector<uint8_t> x(elements(t.input));
  std::vector<int8_t> weight(channels * t.conv.kernel.vertical * t.conv.kernel.horizontal * depth);
  std::vector<int32_t> zero(t.input.channels);
  for (uint8_t& p : x) p = static_cast<uint8_t>(random_bits());
  for (int8_t& w : weight) w = static_cast<int8_t>(static_cast<int>(random_bits() % 255) - 127);
  for (int32_t& z : zero) z = static_cast<int32_t>(random_bits() % 65281);
  Floats zeros;
  for (size_t i = 0; i < x.size(); ++i) zeros.push_back(static_cast<float>(zero[i % zero.size()]));
  const Floats weights(weight.begin(), weight.end()), scale = random_floats(channels), bias = random_floats(channels);
  const std::vector<double> sums = convolve_exactly(t, Floats(x.begin(), x.end()), weights);
  const std::vector<double> shift = convolve_exactly(t, zeros, weights);
  Floats scaled, want;
  for (size_t i = 0; i < sums.size(); ++i) {
    const size_t c = i % channels;
    scaled.push_back(scale[c] * static_cast<float>(sums[i] - std::floor(shift[i] / 256 + 0.5)));
    want.push_back(bias[c] * scaled[i] + scale[c]);
  }
  for (const std::string& isa : usable_isas()) {
    for (size_t threads : {1, 3}) {
      Builder b("x", t.input, Floats(t.input.channels, 0.5f), Floats(t.input.channels, 0.25f), {threads, isa, true},
                ValueType::uint8);
      b.int8_conv2d("a", "x", t.conv, weight, zero, scale, {Step::store("scaled")});
      b.int8_conv2d("b", "x", t.conv, weight, zero, scale,
                    {Step::affine(bias, scale), Step::store("y"), Step::binarize("bits", Rule::sign)});
      const auto engine = b.finish("y");
      Floats got(want.size());
      engine->run(x.data(), 1, got.data());
      const std::string note = isa + " threads " + std::to_string(threads) + " " + t.text();
      CHECK_NOTE(same_floats(*engine, "scaled", scaled), note);
      CHECK_NOTE(got == want, note);
      CHECK_NOTE(same_bits(*engine, "bits", pack(want, channels)), note);
      CHECK_THROWS(engine->run(got.data(), 1, got.data()), std::invalid_argument, "takes pixels (uint8)");
    }
  }
}

Case plain_case(Shape input, size_t out_channels, size_t kernel, size_t padding, int pad_value) {
  Case t;
  t.input = input;
  t.conv.kernel = {kernel, kernel};
  t.conv.padding = {padding, padding};
  t.conv.out_channels = out_channels;
  t.pad_value = pad_value;
  return t;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  int pad = -1;
  const auto next_pad = [&] { return pad = pad == 1 ? -1 : pad + 1; };
  for (size_t in : {1, 3, 31, 32, 33, 63, 64, 65, 96, 130}) {
    for (size_t out : {1, 3, 31, 32, 33, 63, 64, 65, 96, 130}) {
      all.push_back(plain_case({3, 4, in}, out, 3, 1, next_pad()));
    }
  }
  for (size_t width = 1; width <= 9; ++width) {
    for (int value : {-1, 0, 1}) {
      all.push_back(plain_case({4, width, 40}, 33, 3, 1, value));
      all.push_back(plain_case({width, 2, 64}, 64, 1, 0, value));
      all.push_back(plain_case({5, width, 20}, 10, 5, 3, value));
    }
  }
  for (size_t stride : {1, 2, 3}) {
    for (size_t dilation : {1, 2}) {
      for (int value : {-1, 0, 1}) {
        Case t = plain_case({9, 8, 36}, 70, 3, 2, value);
        t.conv.stride = {stride, stride == 1 ? size_t{2} : size_t{1}};
        t.conv.dilation = {dilation, 3 - dilation};
        t.conv.padding = {2, 1};
        all.push_back(t);
      }
    }
  }
  const size_t groups[][3] = {{2, 64, 64}, {2, 128, 64}, {2, 20, 6},   {3, 33, 99}, {4, 128, 256},
                              {5, 5, 5},   {7, 49, 7},   {64, 64, 64}, {2, 66, 130}};
  for (const auto& [count, in, out] : groups) {
    for (int value : {-1, 0, 1}) {
      Case t = plain_case({5, 4, in}, out, 3, 1, value);
      t.conv.groups = count;
      all.push_back(t);
    }
    Case t = plain_case({5, 4, in}, out, 1, 0, 0);
    t.conv.groups = count;
    all.push_back(t);
  }
  Case wide = plain_case({1, 1, 5000}, 10, 1, 0, 0);  // a linear layer
  all.push_back(wide);
  Case uneven = plain_case({6, 7, 16}, 24, 1, 0, -1);
  uneven.conv.kernel = {1, 4};
  uneven.conv.padding = {0, 3};
  all.push_back(uneven);
  return all;
}

}  // namespace

TEST(binary_conv2d_equals_its_definition) {
  for (const Case& t : cases()) check_binary_conv(t);
}

TEST(binary_conv2d_shuffles_its_channels) {
  const size_t shuffles[][4] = {{1, 40, 6, 2},   {1, 33, 70, 7},   {1, 64, 130, 65},  {2, 20, 6, 2},  {2, 64, 64, 2},
                                {2, 66, 130, 2}, {3, 33, 99, 3},   {4, 128, 256, 4},  {5, 35, 70, 7}, {2, 64, 128, 64},
                                {3, 96, 96, 1},  {33, 33, 33, 33}, {2, 64, 192, 192}, {8, 64, 64, 8}};
  for (const auto& [groups, in, out, shuffle] : shuffles) {
    for (int value : {-1, 0, 1}) {
      Case t = plain_case({7, 5, in}, out, 3, 1, value);
      t.conv.groups = groups;
      t.shuffle = shuffle;
      check_binary_conv(t);
    }
    Case t = plain_case({3, 3, in}, out, 1, 0, 0);
    t.conv.groups = groups;
    t.conv.stride = {2, 1};
    t.shuffle = shuffle;
    check_binary_conv(t);
  }
}

TEST(conv2d_equals_its_definition) {
  for (const Case& t : cases()) check_float_conv(t);
}

// Wide rows are computed by minimal filtering, which rounds differently.
TEST(conv2d_along_rows_is_close_to_its_definition) {
  const auto check = [](Case t, Pair kernel, Pair stride, Pair padding, size_t dilation) {
    t.conv.kernel = kernel;
    t.conv.stride = stride;
    t.conv.padding = padding;
    t.conv.dilation.vertical = dilation;
    const size_t weights = t.conv.out_channels * kernel.vertical * kernel.horizontal * t.input.channels;
    const Floats x = random_floats(elements(t.input)), weight = random_floats(weights), want = convolve(t, x, weight);
    float largest = 0;
    for (float y : want) largest = std::max(largest, std::fabs(y));
    for (const std::string& isa : usable_isas()) {
      for (size_t threads : {1, 3}) {
        Builder b = start(t.input, isa, threads);
        b.conv2d("real", "x", t.conv, weight, {Step::store("y")});
        const auto engine = b.finish("y");
        const std::string note = isa + " threads " + std::to_string(threads) + " " + t.text();
        CHECK_NOTE(engine->nodes()[0].kernel.rfind("float_rows_", 0) == 0, note);
        Floats got(want.size());
        engine->run(x.data(), 1, got.data());
        bool close = true;
        for (size_t i = 0; i < want.size(); ++i) close &= std::fabs(got[i] - want[i]) <= 5e-6f * largest;
        CHECK_NOTE(close, note);
      }
    }
  };
  check(plain_case({23, 224, 3}, 64, 1, 0, 0), {7, 7}, {2, 2}, {3, 3}, 1);
  check(plain_case({23, 223, 3}, 70, 1, 0, 0), {7, 7}, {2, 2}, {3, 3}, 1);
  check(plain_case({9, 70, 16}, 33, 1, 0, 0), {3, 3}, {1, 1}, {1, 1}, 1);
  for (size_t width = 60; width < 66; ++width) {
    check(plain_case({6, width, 5}, 40, 1, 0, 0), {4, 4}, {1, 1}, {0, 0}, 1);
    check(plain_case({12, 2 * width, 7}, 64, 1, 0, 0), {5, 6}, {3, 2}, {1, 3}, 2);
  }
  check(plain_case({8, 300, 6}, 64, 1, 0, 0), {5, 16}, {1, 4}, {2, 5}, 1);
  check(plain_case({8, 40, 64}, 128, 1, 0, 0), {3, 3}, {1, 1}, {1, 1}, 1);
}

TEST(int8_conv2d_equals_its_definition) {
  for (size_t channels = 1; channels <= 5; ++channels) {
    for (size_t out : {1, 16, 33, 64, 130}) check_int8_conv(plain_case({5, 6, channels}, out, 3, 1, 0));
    for (size_t kernel : {1, 2, 5, 7}) check_int8_conv(plain_case({7, 8, channels}, 10, kernel, kernel / 2, 0));
  }
  for (size_t side = 1; side <= 9; ++side) {
    Case t = plain_case({side, 10 - side, 3}, 20, 7, 3, 0);
    t.conv.stride = {2, 2};
    check_int8_conv(t);
    t.conv.padding = {6, 9};  // the windows of some results contain only padding
    check_int8_conv(t);
  }
  for (const auto& [groups, in, out] :
       {std::tuple<size_t, size_t, size_t>{3, 3, 6}, {2, 4, 64}, {2, 4, 66}, {4, 4, 4}, {2, 20, 128}, {1, 128, 16}}) {
    Case t = plain_case({6, 5, in}, out, 3, 1, 0);
    t.conv.groups = groups;
    check_int8_conv(t);
    t.conv.dilation = {2, 1};
    t.conv.stride = {1, 3};
    check_int8_conv(t);
    t.conv.dilation = {1, 2};
    check_int8_conv(t);
  }
  for (const Case& t : cases()) {
    if (t.pad_value == 0 && t.input.channels <= 36) check_int8_conv(t);
  }
}

TEST(every_epilogue_step) {
  for (const std::string& isa : usable_isas()) {
    for (size_t channels : {1, 7, 32, 64, 65, 130}) {
      const Shape shape{3, 3, channels};
      const Floats x = random_floats(elements(shape)), a = random_floats(channels), b = random_floats(channels);
      const Floats p = random_floats(channels), n = random_floats(channels), limit = random_floats(channels);
      Builder builder = start(shape, isa, 1);
      builder.elementwise(
          "all", "x",
          {Step::affine(a, b), Step::store("1"), Step::slopes(p, n), Step::store("2"), Step::add("x"), Step::store("3"),
           Step::clamp(-2.5f, 3.0f), Step::store("4"), Step::binarize("5", Rule::sign, limit),
           Step::binarize("6", Rule::step, limit), Step::levels(-1.5f, 2.0f, Rule::step), Step::store("7"),
           Step::add("x"), Step::levels(0.0f, 1.0f, Rule::sign), Step::store("8")});
      const auto engine = builder.finish("8");
      Floats got(x.size());
      engine->run(x.data(), 1, got.data());
      std::vector<Floats> want(9);
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t c = i % channels;
        float y = a[c] * x[i] + b[c];
        want[1].push_back(y);
        y = p[c] * std::max(y, 0.0f) + n[c] * std::min(y, 0.0f);
        want[2].push_back(y);
        y += x[i];
        want[3].push_back(y);
        y = std::min(std::max(y, -2.5f), 3.0f);
        want[4].push_back(y);
        want[5].push_back(y < limit[c] ? -1.0f : 1.0f);
        want[6].push_back(y <= limit[c] ? -1.0f : 1.0f);
        y = y <= 0 ? -1.5f : 2.0f;
        want[7].push_back(y);
        y = y + x[i] < 0 ? 0.0f : 1.0f;
        want[8].push_back(y);
      }
      const std::string note = isa + " channels " + std::to_string(channels);
      for (const char* step : {"1", "2", "3", "4", "7", "8"}) {
        const auto* values = static_cast<const float*>(value(*engine, step));
        // Not memcmp: 0 and -0 are equal.
        CHECK_NOTE(std::equal(values, values + x.size(), want[static_cast<size_t>(*step - '0')].begin()), note + step);
      }
      CHECK_NOTE(same_bits(*engine, "5", pack(want[5], channels)), note);
      CHECK_NOTE(same_bits(*engine, "6", pack(want[6], channels)), note);
    }
  }
}

TEST(zero_of_either_sign_and_nan_are_high) {
  for (const std::string& isa : usable_isas()) {
    const Floats x = {0.0f, -0.0f, -1e-30f, 1e-30f, std::numeric_limits<float>::quiet_NaN()};
    Builder b = start({1, 1, x.size()}, isa, 1);
    b.elementwise("e", "x", {Step::binarize("sign", Rule::sign), Step::binarize("step", Rule::step), Step::store("y")});
    const auto engine = b.finish("y");
    Floats got(x.size());
    engine->run(x.data(), 1, got.data());
    CHECK_NOTE(same_bits(*engine, "sign", {0b00100}), isa);
    CHECK_NOTE(same_bits(*engine, "step", {0b00111}), isa);
  }
}

TEST(pools_equal_their_definition) {
  for (const std::string& isa : usable_isas()) {
    for (size_t channels : {1, 33, 64, 130}) {
      for (size_t kernel : {1, 2, 3}) {
        for (size_t padding = 0; 2 * padding <= kernel; ++padding) {
          const Shape in{7, 5, channels};
          const Pooling g{{kernel, kernel}, {2, 1}, {padding, padding}};
          const Floats x = random_floats(elements(in)), flips = random_signs(channels);
          Builder b = start(in, isa, 2);
          b.max_pool2d("m", "x", g, {Step::store("max")});
          b.avg_pool2d("a", "x", g, true, {Step::store("all")});
          b.avg_pool2d("i", "x", g, false, {Step::store("inside")});
          b.elementwise("e", "x", {Step::binarize("bits", Rule::sign)});
          b.bit_max_pool2d("b", "bits", g, pack(flips, channels), {Step::store("pooled")});
          const auto engine = b.finish("max");
          const Shape out = engine->output_shape();
          Floats max, all, inside, bits, got(elements(out));
          for (size_t oy = 0; oy < out.height; ++oy) {
            for (size_t ox = 0; ox < out.width; ++ox) {
              for (size_t c = 0; c < channels; ++c) {
                float top = -std::numeric_limits<float>::infinity(), sum = 0, taps = 0, high = -1, low = 1;
                for (size_t ky = 0; ky < kernel; ++ky) {
                  for (size_t kx = 0; kx < kernel; ++kx) {
                    const size_t y = oy * 2 + ky, xx = ox + kx;
                    if (y < padding || xx < padding || y >= in.height + padding || xx >= in.width + padding) continue;
                    const float v = x[((y - padding) * in.width + xx - padding) * channels + c];
                    top = std::max(top, v);
                    sum += v;
                    ++taps;
                    high = std::max(high, v < 0 ? -1.0f : 1.0f);
                    low = std::min(low, v < 0 ? -1.0f : 1.0f);
                  }
                }
                max.push_back(top);
                all.push_back(sum / static_cast<float>(kernel * kernel));
                inside.push_back(sum / taps);
                bits.push_back(flips[c] < 0 ? low : high);
              }
            }
          }
          engine->run(x.data(), 1, got.data());
          const std::string note = isa + " channels " + std::to_string(channels) + " kernel " + std::to_string(kernel);
          CHECK_NOTE(got == max, note);
          CHECK_NOTE(same_floats(*engine, "all", all), note);
          CHECK_NOTE(same_floats(*engine, "inside", inside), note);
          CHECK_NOTE(same_bits(*engine, "pooled", pack(bits, channels)), note);
        }
      }
    }
  }
}

// A convolution followed by a pool; by default after a node whose result the convolution reads.
struct PooledCase {
  enum class Kind { real, int8, pool };

  Shape input;
  Kind kind = Kind::real;
  Convolution conv;
  Pooling pool;
  ValueType map = ValueType::float32;
  bool adds = false;        // both epilogues add the input of the convolution
  size_t most_threads = 8;  // with which the two are fused

  std::string text() const {
    const std::string kinds[] = {"real ", "int8 ", "pool "};
    return kinds[static_cast<int>(kind)] + Case{input, conv}.text() + " pooled " +
           std::to_string(pool.kernel.vertical) + " stride " + std::to_string(pool.stride.vertical) + " padding " +
           std::to_string(pool.padding.vertical) + (map == ValueType::float16 ? " float16" : "");
  }
};

// Three pools of the same convolution, each of which reads its own map.
std::unique_ptr<Engine> pooled_network(const PooledCase& t, Options options) {
  random_bits.seed(3);
  const bool int8 = t.kind == PooledCase::Kind::int8;
  const size_t channels = t.kind == PooledCase::Kind::pool ? t.input.channels : t.conv.out_channels;
  const size_t weights =
      t.conv.out_channels * t.conv.kernel.vertical * t.conv.kernel.horizontal * (t.input.channels / t.conv.groups);
  const Floats weight = random_floats(weights), scale = random_floats(channels), bias = random_floats(channels);
  std::vector<int8_t> small_weight(weights);
  for (int8_t& w : small_weight) w = static_cast<int8_t>(static_cast<int>(random_bits() % 255) - 127);
  Builder b("x", t.input, Floats(t.input.channels, 0.5f), Floats(t.input.channels, 0.25f), options,
            int8 ? ValueType::uint8 : ValueType::float32);
  if (!int8) b.elementwise("before", "x", {Step::clamp(-1.5f, 1.75f), Step::store("read")});
  std::vector<std::string> results;
  for (const std::string pool : {"max", "all", "inside"}) {
    std::vector<Step> steps = {Step::affine(scale, bias), Step::clamp(-90, 80)}, behind = {Step::slopes(bias, scale)};
    if (t.adds) {
      steps.push_back(Step::add("read"));
      behind.push_back(Step::add("read"));
    }
    const std::string map = "map " + pool;
    steps.push_back(Step::store(map, t.map));
    if (pool == "inside") behind.push_back(Step::binarize("bits", Rule::sign));
    behind.push_back(Step::store(pool));
    if (int8) {
      b.int8_conv2d("conv " + pool, "x", t.conv, small_weight, std::vector<int32_t>(t.input.channels, 32640),
                    Floats(channels, 1.0f / 256), steps);
    } else if (t.kind == PooledCase::Kind::pool) {
      b.max_pool2d("conv " + pool, "read", {t.conv.kernel, t.conv.stride, t.conv.padding}, steps);
    } else {
      b.conv2d("conv " + pool, "read", t.conv, weight, steps);
    }
    if (pool == "max") {
      b.max_pool2d("pool " + pool, map, t.pool, behind);
    } else {
      b.avg_pool2d("pool " + pool, map, t.pool, pool == "all", behind);
    }
    results.push_back(pool);
  }
  b.concat("end", results, {Step::store("y")});
  return b.finish("y");
}

void check_pooled(const PooledCase& t) {
  if (check::left_out()) return;
  constexpr size_t kImages = 2;
  std::vector<uint8_t> pixels(kImages * elements(t.input));
  for (uint8_t& p : pixels) p = static_cast<uint8_t>(random_bits());
  const auto run = [&](Engine& engine) {
    Floats out(kImages * elements(engine.output_shape()));
    engine.run(pixels.data(), kImages, out.data());
    return out;
  };
  for (const std::string& isa : usable_isas()) {
    const auto apart = pooled_network(t, {1, isa, true});
    const Floats want = run(*apart);
    CHECK_NOTE(*std::max_element(want.begin(), want.end()) > *std::min_element(want.begin(), want.end()), t.text());
    for (size_t threads : {1, 2, 3, 8}) {
      const auto engine = pooled_network(t, {threads, isa, false});
      const std::string note = isa + " threads " + std::to_string(threads) + " " + t.text();
      for (const NodeInfo& node : engine->nodes()) {
        const bool is_pool = node.name.rfind("pool ", 0) == 0;
        const bool joined = node.kernel == "with conv " + node.name.substr(std::min<size_t>(5, node.name.size()));
        CHECK_NOTE(joined == (is_pool && threads <= t.most_threads), note + ": " + node.name + " " + node.kernel);
      }
      const Floats got = run(*engine);
      CHECK_NOTE(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0, note);
    }
  }
}

TEST(pools_joined_with_convolutions_give_the_same) {
  const auto conv = [](size_t out, size_t kernel, size_t stride, size_t padding, size_t groups = 1) {
    return Convolution{{kernel, kernel}, {stride, stride}, {padding, padding}, {1, 1}, groups, out};
  };
  const auto pool = [](size_t kernel, size_t stride, size_t padding) {
    return Pooling{{kernel, kernel}, {stride, stride}, {padding, padding}};
  };
  using Kind = PooledCase::Kind;
  const ValueType half = ValueType::float16;
  // Stems as in real networks: by minimal filtering, and int8.
  check_pooled({{66, 66, 3}, Kind::real, conv(64, 7, 2, 3), pool(3, 2, 1), ValueType::float32, false, 1});
  check_pooled({{64, 59, 3}, Kind::real, conv(33, 7, 2, 3), pool(2, 2, 0), half});
  check_pooled({{66, 30, 3}, Kind::int8, conv(64, 7, 2, 3), pool(3, 2, 1), half, false, 1});
  check_pooled({{70, 8, 3}, Kind::int8, conv(70, 3, 1, 1), pool(3, 3, 1)});
  // Tall maps, split between threads at every position of a window; shared rows are computed twice.
  for (const ValueType map : {ValueType::float32, half}) {
    check_pooled({{500, 3, 5}, Kind::real, conv(12, 3, 1, 1), pool(3, 2, 1), map});
    check_pooled({{520, 3, 4}, Kind::int8, conv(9, 3, 1, 1), pool(3, 2, 0), map});
    check_pooled({{490, 2, 6}, Kind::pool, conv(6, 3, 1, 1), pool(2, 1, 0), map});
  }
  // The result is larger than the input, which must stay alive until the last window is pooled; and nothing may reuse
  // the memory of a value that both epilogues add.
  check_pooled({{100, 4, 2}, Kind::real, conv(70, 2, 1, 0), pool(2, 2, 1)});
  check_pooled({{400, 3, 8}, Kind::real, conv(8, 1, 1, 0), pool(3, 1, 1), ValueType::float32, true, 3});
  check_pooled({{400, 3, 8}, Kind::real, conv(8, 1, 1, 0), pool(3, 1, 1), half, true, 3});
  // All small windows, at borders and between stripes; strides larger than the window skip rows.
  for (size_t height : {1, 7, 8, 9, 17, 40}) {
    for (size_t kernel : {1, 2, 3, 5, 8}) {
      for (size_t stride : {1, 2, 3, 11}) {
        for (size_t padding = 0; 2 * padding <= kernel; ++padding) {
          if (height + 2 * padding < kernel) continue;
          const Shape in{height, 6, 4};
          PooledCase t{in, Kind::real, conv(66, 3, 1, 1, 2), {{kernel, 3}, {stride, 2}, {padding, 1}}};
          const size_t rows = (height + 2 * padding - kernel) / stride + 1;
          t.most_threads = 1;
          for (size_t threads : {2, 3, 8}) {
            const size_t shared = kernel > stride ? (kernel - stride) * (2 * threads - 1) : 0;
            if (2 * threads <= rows && 32 * shared <= height) t.most_threads = threads;
          }
          check_pooled(t);
        }
      }
    }
  }
}

// A 1x1 convolution of reshaped maps, number by number.
struct Reshaped {
  Shape input;
  ReshapedConvolution conv;
  float pad_value;

  size_t channels() const { return conv.out_channels / (conv.upscale * conv.upscale); }
  Shape output() const {
    const auto side = [&](size_t n) { return (n * conv.upscale + conv.block - 1) / conv.block; };
    return {side(input.height), side(input.width), channels()};
  }
  std::string text() const {
    return std::to_string(input.height) + "x" + std::to_string(input.width) + "x" + std::to_string(input.channels) +
           " -> " + std::to_string(conv.out_channels) + " block " + std::to_string(conv.block) + " upscale " +
           std::to_string(conv.upscale) + " roll " + std::to_string(conv.roll) + " pad " + std::to_string(pad_value);
  }

  // The output channel that an element of the result comes from; sets `row` and `column` to its block.
  size_t source(size_t y, size_t x, size_t c, size_t* row, size_t* column) const {
    const Shape out = output();
    const size_t u = conv.upscale, unrolled_y = (y + out.height - conv.roll) % out.height,
                 unrolled_x = (x + out.width - conv.roll) % out.width;
    *row = unrolled_y / u;
    *column = unrolled_x / u;
    return (unrolled_y % u * u + unrolled_x % u) * channels() + c;
  }

  // The result, and for each element the output channel that it comes from.
  void compute(const Floats& x, const Floats& weight, Floats* sums, std::vector<size_t>* sources) const {
    const Shape out = output();
    const size_t r = conv.block, depth = input.channels;
    for (size_t y = 0; y < out.height; ++y) {
      for (size_t xx = 0; xx < out.width; ++xx) {
        for (size_t c = 0; c < out.channels; ++c) {
          size_t row, column;
          const size_t o = source(y, xx, c, &row, &column);
          double sum = 0;
          for (size_t i = 0; i < r * r; ++i) {
            const size_t iy = row * r + i / r, ix = column * r + i % r;
            for (size_t k = 0; k < depth; ++k) {
              const size_t at = (iy + conv.roll) % input.height * input.width + (ix + conv.roll) % input.width;
              const double v = iy < input.height && ix < input.width ? x[at * depth + k] : pad_value;
              sum += v * weight[(o * r * r + i) * depth + k];
            }
          }
          sums->push_back(static_cast<float>(sum));
          sources->push_back(o);
        }
      }
    }
  }
};

std::vector<Reshaped> reshaped_cases() {
  std::vector<Reshaped> all;
  float pad = -1;
  const auto add = [&](Shape input, size_t block, size_t upscale, size_t roll, size_t channels) {
    pad = -pad;
    all.push_back({input, {block, upscale, roll, upscale * upscale * channels}, pad});
  };
  for (size_t in : {3, 33, 64, 70}) {
    for (size_t channels : {1, 3, 16, 17, 32, 33, 64, 70, 130}) {
      add({7, 5, in}, 2, 2, 0, channels);
      add({5, 7, in}, 2, 2, 1, channels);
      add({7, 5, in}, 4, 2, 0, channels);
      add({7, 9, in}, 2, 1, 0, channels);
    }
  }
  for (size_t height = 1; height <= 5; ++height) {
    for (size_t width = 1; width <= 18; ++width) {
      for (size_t roll : {0, 1}) {
        add({height, width, 20}, 1, 1, roll, 5);
        add({height, width, 20}, 2, 2, roll, 5);
      }
      for (size_t block : {3, 8, 16}) {
        add({height, width, 4}, block, 1, 0, 35);
        add({height, width, 4}, block, 2, 0, 20);
      }
      add({height, width, 4}, 1, 2, 0, 9);
    }
  }
  return all;
}

// Steps with tables after a reshaped convolution, applied to its sums `y`: the values "added" and "limited".
struct TableSteps {
  Floats scale, bias, positive, negative, limit;

  explicit TableSteps(size_t entries)
      : scale(random_floats(entries)),
        bias(random_floats(entries)),
        positive(random_floats(entries)),
        negative(random_floats(entries)),
        limit(random_floats(entries)) {}

  std::vector<Step> steps() const {
    return {Step::affine(scale, bias), Step::add("sums"), Step::slopes(positive, negative), Step::store("added"),
            Step::binarize("limited", Rule::sign, limit)};
  }
  void check(const Engine& engine, const Reshaped& t, const Floats& sums, const std::vector<size_t>& source,
             const std::string& note) const {
    Floats added, limited;
    for (size_t i = 0; i < sums.size(); ++i) {
      const size_t o = source[i];
      const float y = scale[o] * sums[i] + bias[o] + sums[i];
      added.push_back(positive[o] * std::max(y, 0.0f) + negative[o] * std::min(y, 0.0f));
      limited.push_back(added[i] < limit[o] ? -1.0f : 1.0f);
    }
    const auto* got = static_cast<const float*>(value(engine, "added"));
    CHECK_NOTE(std::equal(added.begin(), added.end(), got), note);
    CHECK_NOTE(same_bits(engine, "limited", pack(limited, t.channels())), note);
  }
};

TEST(binary_rpc2d_equals_its_definition) {
  for (const Reshaped& t : reshaped_cases()) {
    if (check::left_out()) continue;
    const size_t entries = t.conv.out_channels, depth = t.input.channels;
    const Floats x = random_signs(elements(t.input)), flips = random_signs(entries);
    const Floats weight = random_signs(entries * t.conv.block * t.conv.block * depth);
    const TableSteps tables(entries);
    std::vector<int32_t> below(entries);
    for (int32_t& b : below) b = static_cast<int32_t>(random_bits() % 21) - 10;
    Floats sums, thresholded;
    std::vector<size_t> source;
    t.compute(x, weight, &sums, &source);
    for (size_t i = 0; i < sums.size(); ++i) {
      const size_t o = source[i];
      thresholded.push_back((sums[i] < static_cast<float>(below[o])) != (flips[o] < 0) ? -1.0f : 1.0f);
    }
    for (const std::string& isa : usable_isas()) {
      for (size_t threads : {1, 3}) {
        Builder b = start(t.input, isa, threads);
        const auto rpc = [&](const char* name, const std::vector<Step>& steps) {
          b.binary_rpc2d(name, "bits", t.conv, static_cast<int>(t.pad_value), pack(weight, depth), steps);
        };
        b.elementwise("sign", "x", {Step::binarize("bits", Rule::sign)});
        rpc("raw", {Step::store("sums")});
        rpc("tables", tables.steps());
        rpc("threshold", {Step::threshold("low", below, pack(flips, t.channels()))});
        const auto engine = b.finish("sums");
        Floats got(sums.size());
        engine->run(x.data(), 1, got.data());
        const std::string note = isa + " threads " + std::to_string(threads) + " " + t.text();
        CHECK_NOTE(got == sums, note);
        CHECK_NOTE(same_bits(*engine, "low", pack(thresholded, t.channels())), note);
        tables.check(*engine, t, sums, source, note);
      }
    }
  }
}

TEST(rpc2d_equals_its_definition) {
  for (Reshaped t : reshaped_cases()) {
    if (check::left_out()) continue;
    t.pad_value = 0;
    const size_t entries = t.conv.out_channels;
    const Floats x = random_floats(elements(t.input));
    const Floats weight = random_floats(entries * t.conv.block * t.conv.block * t.input.channels);
    const TableSteps tables(entries);
    Floats sums;
    std::vector<size_t> source;
    t.compute(x, weight, &sums, &source);
    for (const std::string& isa : usable_isas()) {
      for (size_t threads : {1, 3}) {
        Builder b = start(t.input, isa, threads);
        b.rpc2d("raw", "x", t.conv, weight, {Step::store("sums")});
        b.rpc2d("tables", "x", t.conv, weight, tables.steps());
        const auto engine = b.finish("sums");
        Floats got(sums.size());
        engine->run(x.data(), 1, got.data());
        const std::string note = isa + " threads " + std::to_string(threads) + " " + t.text();
        CHECK_NOTE(got == sums, note);
        tables.check(*engine, t, sums, source, note);
      }
    }
  }
}

TEST(concat_and_shuffle_channels) {
  for (const std::string& isa : usable_isas()) {
    for (size_t threads : {1, 3}) {
      const Shape shape{5, 3, 42};
      const Floats x = random_floats(elements(shape)), scale = random_floats(3 * 42 + 5);
      Builder b = start(shape, isa, threads);
      b.conv2d("narrow", "x", {{1, 1}, {1, 1}, {0, 0}, {1, 1}, 1, 5}, Floats(5 * 42, 0.5f), {Step::store("five")});
      b.concat("one", {"x"}, {Step::store("same")});
      b.concat("joined", {"x", "five", "x", "same"},
               {Step::store("joined"), Step::affine(scale, Floats(131)), Step::binarize("bits", Rule::sign)});
      for (size_t groups : {1, 2, 3, 42}) {
        b.shuffle_channels("s" + std::to_string(groups), "x", groups, {Step::store("by " + std::to_string(groups))});
      }
      const auto engine = b.finish("joined");
      Floats joined, signs, got(15 * 131);
      for (size_t p = 0; p < 15; ++p) {
        float half_sum = 0;
        for (size_t c = 0; c < 42; ++c) half_sum += x[p * 42 + c] / 2;
        for (size_t c = 0; c < 131; ++c) {
          joined.push_back(c >= 42 && c < 47 ? half_sum : x[p * 42 + (c < 42 ? c : (c - 47) % 42)]);
          signs.push_back(joined.back() * scale[c] < 0 ? -1.0f : 1.0f);
        }
      }
      engine->run(x.data(), 1, got.data());
      CHECK_NOTE(got == joined, isa);
      CHECK_NOTE(same_bits(*engine, "bits", pack(signs, 131)), isa);
      CHECK_NOTE(same_floats(*engine, "same", x), isa);
      for (size_t groups : {1, 2, 3, 42}) {
        CHECK_NOTE(same_floats(*engine, "by " + std::to_string(groups), shuffle_rows(x, 42, groups)), isa);
      }
    }
  }
}

TEST(rearranging_ops) {
  for (const std::string& isa : usable_isas()) {
    const Shape shape{3, 2, 5};
    const Floats x = random_floats(elements(shape));
    Builder b = start(shape, isa, 2);
    b.flatten("f", "x", {Step::store("flat")});
    b.pad_channels("p", "x", 3, 70, {Step::store("wide")});
    const auto engine = b.finish("flat");
    Floats flat, wide, got(x.size());
    for (size_t c = 0; c < 5; ++c) {
      for (size_t p = 0; p < 6; ++p) flat.push_back(x[p * 5 + c]);
    }
    for (size_t p = 0; p < 6; ++p) {
      for (size_t c = 0; c < 78; ++c) wide.push_back(c >= 3 && c < 8 ? x[p * 5 + c - 3] : 0.0f);
    }
    engine->run(x.data(), 1, got.data());
    CHECK_NOTE(got == flat, isa);
    CHECK_NOTE(same_floats(*engine, "wide", wide), isa);
  }
}

TEST(gathering_ops) {
  for (const std::string& isa : usable_isas()) {
    const Shape shape{4, 6, 18};
    const Floats x = random_floats(elements(shape));
    const std::vector<int32_t> rows{3, 3, -1, 0, 2}, columns{-1, 1, 2, 3, 5, 0}, channels{17, 0, 0, -1, 4};
    const auto at = [&](size_t row, size_t column, size_t channel) {
      return x[(row * shape.width + column) * shape.channels + channel];
    };
    for (const bool half : {false, true}) {
      Builder b = start(shape, isa, 2);
      b.elementwise("copy", "x", {Step::store("y", half ? ValueType::float16 : ValueType::float32)});
      b.elementwise("back", "y", {Step::store("z")});  // what the halves hold
      b.gather2d("some", "y", rows, columns, channels, 0.5f, {Step::store("some")});
      b.gather2d("all", "y", {}, {}, {}, 0.0f, {Step::store("all")});
      b.gather2d("pixels", "y", rows, columns, {}, -2.0f, {Step::store("pixels")});
      b.space_to_depth("deep", "y", 2, {Step::store("deep")});
      b.depth_to_space("wide", "y", 3, {Step::store("wide")});
      b.depth_to_space("again", "deep", 2, {Step::store("again")});
      const auto engine = b.finish("again");
      Floats got(x.size());
      engine->run(x.data(), 1, got.data());
      if (half) {  // as the floats that the halves hold
        CHECK_NOTE(same_floats(*engine, "z", got), isa);
        CHECK_NOTE(same_floats(*engine, "all", got), isa);
        continue;
      }
      Floats some, pixels, deep, wide;
      for (const int32_t row : rows) {
        for (const int32_t column : columns) {
          for (const int32_t channel : channels) {
            some.push_back(row < 0 || column < 0 || channel < 0 ? 0.5f : at(row, column, channel));
          }
          for (size_t channel = 0; channel < shape.channels; ++channel) {
            pixels.push_back(row < 0 || column < 0 ? -2.0f : at(row, column, channel));
          }
        }
      }
      for (size_t row = 0; row < 2; ++row) {
        for (size_t column = 0; column < 3; ++column) {
          for (size_t k = 0; k < 4 * shape.channels; ++k) {
            deep.push_back(at(2 * row + k % 4 / 2, 2 * column + k % 2, k / 4));
          }
        }
      }
      for (size_t row = 0; row < 12; ++row) {
        for (size_t column = 0; column < 18; ++column) {
          for (size_t c = 0; c < 2; ++c) wide.push_back(at(row / 3, column / 3, 9 * c + row % 3 * 3 + column % 3));
        }
      }
      CHECK_NOTE(got == x, isa);
      CHECK_NOTE(same_floats(*engine, "all", x), isa);
      CHECK_NOTE(same_floats(*engine, "some", some), isa);
      CHECK_NOTE(same_floats(*engine, "pixels", pixels), isa);
      CHECK_NOTE(same_floats(*engine, "deep", deep), isa);
      CHECK_NOTE(same_floats(*engine, "wide", wide), isa);
    }
  }
}

// Values that share memory must not overwrite each other, and a batch gives the same results as its images one by one.
TEST(memory_is_reused_without_harm) {
  const size_t channels = 48;
  const Shape shape{6, 6, channels};
  const Convolution conv{{3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, channels};
  std::vector<Words> weights;
  std::vector<Floats> scales;
  for (int i = 0; i < 6; ++i) {
    weights.push_back(pack(random_signs(channels * 9 * channels), channels));
    scales.push_back(random_floats(channels));
  }
  const auto build = [&](bool keep, size_t threads) {
    Builder b("x", shape, Floats(channels, 0.0f), Floats(channels, 1.0f), {threads, "", keep});
    std::string last = "x";
    b.elementwise("start", "x", {Step::binarize("b0", Rule::sign)});
    for (size_t i = 0; i < 6; ++i) {
      const std::string n = std::to_string(i), next = std::to_string(i + 1);
      b.binary_conv2d("c" + n, "b" + n, conv, 0, weights[i],
                      {Step::affine(scales[i], scales[5 - i]), Step::add(last), Step::store("f" + next),
                       Step::binarize("b" + next, Rule::sign)});
      last = "f" + next;
    }
    return b.finish(last);
  };
  const auto kept = build(true, 1), shared = build(false, 1), parallel = build(false, 4);
  CHECK(shared->memory().values < kept->memory().values);
  constexpr size_t kImages = 3;
  std::vector<uint8_t> pixels(kImages * elements(shape));
  for (uint8_t& p : pixels) p = static_cast<uint8_t>(random_bits());
  Floats a(pixels.size()), b(pixels.size()), c(pixels.size()), floats(pixels.size()), d(pixels.size());
  for (size_t i = 0; i < kImages; ++i) kept->run(&pixels[i * elements(shape)], 1, &a[i * elements(shape)]);
  shared->run(pixels.data(), kImages, b.data());
  parallel->run(pixels.data(), kImages, c.data());
  std::transform(pixels.begin(), pixels.end(), floats.begin(),
                 [](uint8_t p) { return static_cast<float>(p) / 255.0f; });
  shared->run(floats.data(), kImages, d.data());
  CHECK(a == b);
  CHECK(a == c);
  CHECK(a == d);
}

RUN_TESTS()
