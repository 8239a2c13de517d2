// The real-valued convolution, included once per instruction set, after its kernels/vec header and the size of the
// register tile, kPixels x kVectors. No include guard: every including file compiles its own copy.

namespace onebit {
namespace {

constexpr size_t kPanel = kVectors * Vec::kLanes;

// With few pixels there are too few accumulators to hide the latency of additions, so each output gets several.
constexpr size_t partial_sums(size_t pixels) { return pixels == 1 ? 4 : pixels <= 3 ? 2 : 1; }

template <size_t pixels>
void multiply_panel(const FloatTile& t, const float* weights, float* y) {
  constexpr size_t kParts = partial_sums(pixels), kSums = pixels * kVectors;
  Vec sum[kParts * kSums];
  unroll<kParts * kSums>([&](auto i) ONEBIT_INLINE_LAMBDA { sum[i] = Vec::zero(); });
  const uint8_t* pixel[pixels];
  unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA { pixel[p] = t.pixels[p]; });

  const auto step = [&](auto part, ptrdiff_t at, const float* from) ONEBIT_INLINE_LAMBDA {
    Vec weight[kVectors];
    unroll<kVectors>([&](auto v) ONEBIT_INLINE_LAMBDA { weight[v] = Vec::load(from + v * Vec::kLanes); });
    unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
      const Vec x = Vec::broadcast(reinterpret_cast<const float*>(pixel[p] + at));
      unroll<kVectors>([&](auto v) ONEBIT_INLINE_LAMBDA {
        Vec& s = sum[part * kSums + p * kVectors + v];
        s = Vec::multiply_add(x, weight[v], s);
      });
    });
  };
  constexpr auto kFloat = static_cast<ptrdiff_t>(sizeof(float));
  for (size_t r = 0; r < t.run_count; ++r) {
    ptrdiff_t at = t.runs[r];
    size_t left = t.run_floats;
    for (; left >= kParts; left -= kParts) {
      unroll<kParts>([&](auto part) ONEBIT_INLINE_LAMBDA {
        step(part, at + static_cast<ptrdiff_t>(part) * kFloat, weights + part * kPanel);
      });
      at += kParts * kFloat;
      weights += kParts * kPanel;
    }
    for (; left > 0; --left) {
      step(std::integral_constant<size_t, 0>{}, at, weights);
      at += kFloat;
      weights += kPanel;
    }
  }
  unroll<kSums>([&](auto i) ONEBIT_INLINE_LAMBDA {
    Vec total = sum[i];
    unroll<kParts - 1>([&](auto part) ONEBIT_INLINE_LAMBDA { total = Vec::add(total, sum[(part + 1) * kSums + i]); });
    total.store(y + i / kVectors * kBlock + i % kVectors * Vec::kLanes);
  });
}

template <size_t pixels>
void multiply_pixels(const FloatTile& t) {
  const size_t panel_floats = t.run_count * t.run_floats * kPanel;
  for (size_t c = 0; c < t.channels; c += kPanel) {
    multiply_panel<pixels>(t, t.weights + c / kPanel * panel_floats, t.y + c);
  }
}

template <size_t pixels>
void multiply_at_most(const FloatTile& t) {
  if (t.pixel_count == pixels) return multiply_pixels<pixels>(t);
  if constexpr (pixels > 1) multiply_at_most<pixels - 1>(t);
}

void multiply(const FloatTile& t) { multiply_at_most<kPixels>(t); }

// `vectors` vectors of `repeats` combinations: independent accumulators, which hide the latency of additions.
template <size_t repeats, size_t vectors>
ONEBIT_INLINE void combine_vectors(const Combination& t, size_t repeat, size_t from) {
  Vec sum[repeats * vectors];
  unroll<repeats * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA { sum[i] = Vec::zero(); });
  for (size_t k = 0; k < t.term_count; ++k) {
    const Vec factor = Vec::broadcast(t.factors + k);
    const float* term = t.terms[k] + repeat * t.term_step + from;
    unroll<repeats * vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
      sum[i] =
          Vec::multiply_add(factor, Vec::load(term + i / vectors * t.term_step + i % vectors * Vec::kLanes), sum[i]);
    });
  }
  float* out = t.out + repeat * t.out_step + from;
  unroll<repeats * vectors>(
      [&](auto i) ONEBIT_INLINE_LAMBDA { sum[i].store(out + i / vectors * t.out_step + i % vectors * Vec::kLanes); });
}

template <size_t repeats, size_t vectors>
void combine_at_most(const Combination& t, size_t repeat, size_t from) {
  if (t.repeats - repeat == repeats) return combine_vectors<repeats, vectors>(t, repeat, from);
  if constexpr (repeats > 1) combine_at_most<repeats - 1, vectors>(t, repeat, from);
}

template <size_t vectors>
void combine_all(const Combination& t) {
  constexpr size_t kTogether = 4;
  for (size_t from = 0; from < t.length; from += vectors * Vec::kLanes) {
    size_t repeat = 0;
    for (; repeat + kTogether <= t.repeats; repeat += kTogether) combine_vectors<kTogether, vectors>(t, repeat, from);
    combine_at_most<kTogether - 1, vectors>(t, repeat, from);
  }
}

void combine(const Combination& t) {
  if (t.length % kPanel == 0) {
    combine_all<kVectors>(t);
  } else {
    combine_all<1>(t);
  }
}

template <size_t points>
void find_results_of(const PointSums& t) {
  const float half = 0.5f, quarter = 0.25f, eighth = 0.125f, two = 2.0f, four = 4.0f, eight = 8.0f;
  const auto add_times = [](Vec& sum, Vec x, const float& factor)
                             ONEBIT_INLINE_LAMBDA { sum = Vec::multiply_add(x, Vec::broadcast(&factor), sum); };
  for (size_t tile = 0; tile < t.tiles; ++tile) {
    for (size_t c = 0; c < t.length; c += Vec::kLanes) {
      const auto at = [&](size_t point) ONEBIT_INLINE_LAMBDA { return Vec::load(t.sums[point] + tile * t.step + c); };
      // The powers of opposite points differ in sign only: even ones take the sum at both points, odd ones the
      // difference.
      const Vec even = Vec::add(at(1), at(2)), odd = Vec::sub(at(1), at(2));
      Vec result[4] = {Vec::add(at(0), even), odd, even, Vec::add(odd, at(points))};
      if constexpr (points > 3) {  // 1/2
        const Vec x = at(3);
        result[0] = Vec::add(result[0], x);
        add_times(result[1], x, half);
        add_times(result[2], x, quarter);
        add_times(result[3], x, eighth);
      }
      if constexpr (points > 4) {  // -2 and 2
        const Vec below = at(4), above = points > 5 ? at(5) : Vec::zero();
        const Vec both = Vec::add(above, below), apart = Vec::sub(above, below);
        result[0] = Vec::add(result[0], both);
        add_times(result[1], apart, two);
        add_times(result[2], both, four);
        add_times(result[3], apart, eight);
      }
      float* out = t.out + 4 * tile * t.step + c;
      unroll<4>([&](auto k) ONEBIT_INLINE_LAMBDA { result[k].store(out + k * t.step); });
    }
  }
}

void find_results(const PointSums& t) {
  constexpr void (*by_points[])(const PointSums&) = {find_results_of<3>, find_results_of<4>, find_results_of<5>,
                                                     find_results_of<6>};
  by_points[t.points - 3](t);
}

}  // namespace
}  // namespace onebit
