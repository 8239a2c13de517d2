// The epilogue, included once per instruction set, after its kernels/vec header and kRegisters, the number of vectors
// that are processed at once. No include guard: every including file compiles its own copy.

namespace onebit {
namespace {

// The granularity of a tile's width, so that narrow maps do not cost as much as a whole block.
constexpr size_t kQuarter = kBlock / 4;

// The channels of some pixels. All indices are constants after unrolling, so this stays in registers.
template <size_t pixels, size_t vectors>
struct Rows {
  Vec v[pixels * vectors];

  // Calls f(vector, pixel, first channel); pixel and channel are compile-time constants.
  template <class Function>
  ONEBIT_INLINE void each(Function f) {
    unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
      unroll<vectors>([&](auto i) ONEBIT_INLINE_LAMBDA { f(v[p * vectors + i], p, times<Vec::kLanes>(i)); });
    });
  }

  // v = f(v, first, second) with the entries of two tables for each channel.
  template <class Function>
  ONEBIT_INLINE void apply(const float* first, const float* second, Function f) {
    unroll<vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
      const Vec a = Vec::load(first + i * Vec::kLanes), b = Vec::load(second + i * Vec::kLanes);
      unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA { v[p * vectors + i] = f(v[p * vectors + i], a, b); });
    });
  }
};

// Whether all vectors are full: otherwise the last one reaches past the pixel's channels, perhaps past the map.
template <size_t vectors>
ONEBIT_INLINE bool is_whole(const EpilogueTile& t) {
  return t.channels == vectors * Vec::kLanes;
}

// The first `count` elements of some vectors, by way of memory that is large enough for whole ones.
template <class T, size_t vectors>
struct Part {
  T lanes[vectors * Vec::kLanes] = {};

  ONEBIT_INLINE void load(const T* from, size_t count) { __builtin_memcpy(lanes, from, count * sizeof(T)); }
  ONEBIT_INLINE void store(T* to, size_t count) const { __builtin_memcpy(to, lanes, count * sizeof(T)); }
};

// v = join(v, the channels at at(pixel)).
template <size_t pixels, size_t vectors, class Address, class Join>
ONEBIT_INLINE void join_values(const EpilogueTile& t, Rows<pixels, vectors>& rows, Address at, Join join) {
  if (is_whole<vectors>(t)) {
    rows.each([&](Vec& v, auto p, auto c) ONEBIT_INLINE_LAMBDA { v = join(v, Vec::load(at(p) + c)); });
  } else {
    unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
      Part<std::remove_const_t<std::remove_pointer_t<decltype(at(p))>>, vectors> part;
      part.load(at(p), t.channels);
      unroll<vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
        Vec& v = rows.v[p * vectors + i];
        v = join(v, Vec::load(part.lanes + i * Vec::kLanes));
      });
    });
  }
}

template <class T, size_t pixels, size_t vectors>
ONEBIT_INLINE void store_values(const EpilogueTile& t, Rows<pixels, vectors>& rows, T* to, size_t to_next) {
  if (is_whole<vectors>(t)) {
    rows.each([&](Vec& v, auto p, auto c) ONEBIT_INLINE_LAMBDA { v.store(to + p * to_next + c); });
  } else {
    unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
      Part<T, vectors> part;
      unroll<vectors>([&](auto i)
                          ONEBIT_INLINE_LAMBDA { rows.v[p * vectors + i].store(part.lanes + i * Vec::kLanes); });
      part.store(to + p * to_next, t.channels);
    });
  }
}

// The address of a pixel in the value that a step reads or writes; `per_pixel` elements of T each.
template <class T>
ONEBIT_INLINE T* value_at(const EpilogueTile& t, const StepPlan& step, size_t pixel, size_t per_pixel) {
  if (step.value == t.part.value) {
    return reinterpret_cast<T*>(t.part.data) + (pixel - t.part.first_pixel) * per_pixel;
  }
  return reinterpret_cast<T*>(t.values[step.value]) + pixel * per_pixel;
}

// Sums of a binary convolution: depth - 2 * diff.
ONEBIT_INLINE IntVec signed_sum(const int32_t* depth, const int32_t* diff) {
  const IntVec d = IntVec::load(diff);
  return IntVec::sub(IntVec::load(depth), IntVec::add(d, d));
}

// Stores bits(pixel, vector, first channel), one bit per lane; kLanes divides 32. Bits past the last channel must be 0.
template <size_t pixels, size_t vectors, class Bits>
ONEBIT_INLINE void store_bits(const EpilogueTile& t, size_t pixel, const StepPlan& step, const uint32_t* flip,
                              Bits bits) {
  const size_t words = words_for(t.total_channels);
  uint32_t* out = value_at<uint32_t>(t, step, pixel, words) + t.channel / kWordBits;
  const uint32_t last = 0xFFFFFFFFu >> ((kBlock - t.channels) % kWordBits);
  unroll<pixels>([&](auto p) ONEBIT_INLINE_LAMBDA {
    uint32_t word[2] = {};
    unroll<vectors>([&](auto i) ONEBIT_INLINE_LAMBDA {
      const auto c = times<Vec::kLanes>(i);
      word[c / kWordBits] |= bits(p, i, c) << (c % kWordBits);
    });
    if (flip) {
      word[0] ^= flip[0];
      word[1] ^= flip[1];
    }
    uint32_t* to = out + p * words * t.pixel_step;
    if (t.channels <= kWordBits) {
      to[0] = word[0] & last;
    } else {
      to[0] = word[0];
      to[1] = word[1] & last;
    }
  });
}

template <size_t pixels, size_t vectors>
ONEBIT_INLINE void finish_rows(const EpilogueTile& t, size_t pixel, Rows<pixels, vectors>& rows) {
  const size_t to_next = t.pixel_step * t.total_channels;
  // Calls f(address of the first pixel and channel in the value of `step`).
  const auto with_value = [&](const StepPlan& step, auto f) ONEBIT_INLINE_LAMBDA {
    if (step.half) return f(value_at<Half>(t, step, pixel, t.total_channels) + t.channel);
    f(value_at<float>(t, step, pixel, t.total_channels) + t.channel);
  };
  for (size_t s = 0; s < t.step_count; ++s) {
    const StepPlan& step = t.steps[s];
    switch (step.kind) {
      case StepKind::affine:
        rows.apply(step.first + t.table, step.second + t.table,
                   [](Vec v, Vec scale, Vec bias) ONEBIT_INLINE_LAMBDA { return Vec::add(Vec::mul(v, scale), bias); });
        break;
      case StepKind::slopes: {
        const Vec zero = Vec::broadcast(0.0f);
        rows.apply(step.first + t.table, step.second + t.table,
                   [&](Vec v, Vec positive, Vec negative) ONEBIT_INLINE_LAMBDA {
                     return Vec::mul(v, Vec::select(Vec::less(v, zero), negative, positive));
                   });
        break;
      }
      case StepKind::clamp: {
        const Vec low = Vec::broadcast(step.low), high = Vec::broadcast(step.high);
        rows.each([&](Vec& v, auto, auto) ONEBIT_INLINE_LAMBDA { v = Vec::min(Vec::max(v, low), high); });
        break;
      }
      case StepKind::add:
        with_value(step, [&](const auto* from) ONEBIT_INLINE_LAMBDA {
          join_values(
              t, rows, [&](auto p) ONEBIT_INLINE_LAMBDA { return from + p * to_next; },
              [](Vec a, Vec b) ONEBIT_INLINE_LAMBDA { return Vec::add(a, b); });
        });
        break;
      case StepKind::levels: {
        const Vec low = Vec::broadcast(step.low), high = Vec::broadcast(step.high), zero = Vec::broadcast(0.0f);
        rows.each([&](Vec& v, auto, auto) ONEBIT_INLINE_LAMBDA {
          v = Vec::select(step.inclusive ? Vec::less_equal(v, zero) : Vec::less(v, zero), low, high);
        });
        break;
      }
      case StepKind::binarize: {
        const float* first = step.first + t.table;
        if (step.inclusive) {
          store_bits<pixels, vectors>(t, pixel, step, nullptr, [&](auto p, auto i, auto c) ONEBIT_INLINE_LAMBDA {
            return Vec::bits(Vec::less_equal(rows.v[p * vectors + i], Vec::load(first + c)));
          });
        } else {
          store_bits<pixels, vectors>(t, pixel, step, nullptr, [&](auto p, auto i, auto c) ONEBIT_INLINE_LAMBDA {
            return Vec::bits(Vec::less(rows.v[p * vectors + i], Vec::load(first + c)));
          });
        }
        break;
      }
      case StepKind::store:
        with_value(step, [&](auto* to) ONEBIT_INLINE_LAMBDA { store_values(t, rows, to, to_next); });
        break;
      case StepKind::threshold:  // see finish_threshold
        break;
    }
  }
}

// What a tile is made of: floats, or where `depth` is set the counts of a binary convolution. Asked at run time, as one
// copy of `finish` for each would take twice as long to compile.
struct Source {
  const void* from;
  size_t stride;
  const int32_t* const* depth;

  template <size_t pixels, size_t vectors>
  ONEBIT_INLINE void fill(const EpilogueTile& t, size_t p, Rows<pixels, vectors>& rows) const {
    if (depth) {
      rows.each([&](Vec& v, auto i, auto c) ONEBIT_INLINE_LAMBDA { v = IntVec::to_floats(sum(p + i, c)); });
    } else {
      const float* y = static_cast<const float*>(from) + p * stride;
      join_values(
          t, rows, [&](auto i) ONEBIT_INLINE_LAMBDA { return y + i * stride; },
          [](Vec, Vec loaded) ONEBIT_INLINE_LAMBDA { return loaded; });
    }
  }

  ONEBIT_INLINE IntVec sum(size_t p, size_t c) const {
    return signed_sum(depth[p] + c, static_cast<const int32_t*>(from) + p * stride + c);
  }
};

// Calls f(number of pixels, first pixel) until all pixels of the tile are covered.
template <size_t vectors, class Function>
ONEBIT_INLINE void for_pixels(const EpilogueTile& t, Function f) {
  constexpr size_t kFit = kRegisters / vectors, kAtOnce = kFit < 1 ? 1 : kFit < 6 ? kFit : 6;
  size_t p = 0;
  for (; p + kAtOnce <= t.pixel_count; p += kAtOnce) f(std::integral_constant<size_t, kAtOnce>{}, p);
  if constexpr (kAtOnce > 1) {
    for (; p < t.pixel_count; ++p) f(std::integral_constant<size_t, 1>{}, p);
  }
}

// Calls f(number of vectors per pixel).
template <class Function>
ONEBIT_INLINE void for_width(const EpilogueTile& t, Function f) {
  constexpr size_t kVectors = kQuarter / Vec::kLanes;
  switch ((t.channels + kQuarter - 1) / kQuarter) {
    case 1:
      return f(std::integral_constant<size_t, kVectors>{});
    case 2:
      return f(std::integral_constant<size_t, 2 * kVectors>{});
    case 3:
      return f(std::integral_constant<size_t, 3 * kVectors>{});
    default:
      return f(std::integral_constant<size_t, 4 * kVectors>{});
  }
}

void finish(const EpilogueTile& t, const Source& source) {
  for_width(t, [&](auto vectors) {
    for_pixels<vectors>(t, [&](auto pixels, size_t p) ONEBIT_INLINE_LAMBDA {
      Rows<pixels, vectors> rows;
      source.fill(t, p, rows);
      finish_rows(t, t.pixel + p * t.pixel_step, rows);
    });
  });
}

void finish_threshold(const EpilogueTile& t, const Source& counts) {
  const StepPlan& step = t.steps[0];
  const int32_t* below = step.below + t.table;
  const uint32_t* flip = step.flip + t.table / kWordBits;
  for_width(t, [&](auto vectors) {
    for_pixels<vectors>(t, [&](auto pixels, size_t p) ONEBIT_INLINE_LAMBDA {
      store_bits<pixels, vectors>(t, t.pixel + p * t.pixel_step, step, flip,
                                  [&](auto i, auto, auto c) ONEBIT_INLINE_LAMBDA {
                                    return Vec::bits(IntVec::less(counts.sum(p + i, c), IntVec::load(below + c)));
                                  });
    });
  });
}

void finish_counts(const EpilogueTile& t, const int32_t* diff, size_t stride, const int32_t* const* depth) {
  const Source counts{diff, stride, depth};
  t.steps[0].kind == StepKind::threshold ? finish_threshold(t, counts) : finish(t, counts);
}

void finish_floats(const EpilogueTile& t, const float* y, size_t stride) { finish(t, {y, stride, nullptr}); }

void widen(const Half* from, size_t count, float* to) {
  size_t i = 0;
  for (; i + Vec::kLanes <= count; i += Vec::kLanes) Vec::load(from + i).store(to + i);
  if (i == count) return;
  Part<Half, 1> halves;
  halves.load(from + i, count - i);
  Part<float, 1> floats;
  Vec::load(halves.lanes).store(floats.lanes);
  floats.store(to + i, count - i);
}

// Converts to floats in memory first. One more source for `finish` would save that, but grow its code. The same holds
// for finish_windows.
void finish_halves(const EpilogueTile& t, const Half* y, size_t stride) {
  float floats[kMaxPixels * kBlock];
  EpilogueTile part = t;
  for (size_t p = 0; p < t.pixel_count; p += kMaxPixels) {
    part.pixel = t.pixel + p * t.pixel_step;
    part.pixel_count = t.pixel_count - p < kMaxPixels ? t.pixel_count - p : kMaxPixels;
    for (size_t i = 0; i < part.pixel_count; ++i) widen(y + (p + i) * stride, t.channels, floats + i * kBlock);
    finish_floats(part, floats, kBlock);
  }
}

// y[pixel][kBlock]: the maximum or mean over each pixel's taps, of type T.
template <class T>
void pool_windows(const EpilogueTile& t, const PoolWindows& windows, float* y) {
  for_width(t, [&](auto vectors) {
    for_pixels<vectors>(t, [&](auto pixels, size_t p) ONEBIT_INLINE_LAMBDA {
      Rows<pixels, vectors> rows;
      const uint8_t* const* taps = windows.taps + p * windows.tap_count;
      const auto join = [&](size_t k, auto f) ONEBIT_INLINE_LAMBDA {
        const auto tap = [&](auto i) ONEBIT_INLINE_LAMBDA {
          return reinterpret_cast<const T*>(taps[i * windows.tap_count + k]) + t.channel;
        };
        join_values(t, rows, tap, f);
      };
      join(0, [](Vec, Vec loaded) ONEBIT_INLINE_LAMBDA { return loaded; });
      for (size_t k = 1; k < windows.tap_count; ++k) {
        if (windows.divisors) {
          join(k, [](Vec a, Vec b) ONEBIT_INLINE_LAMBDA { return Vec::add(a, b); });
        } else {
          join(k, [](Vec a, Vec b) ONEBIT_INLINE_LAMBDA { return Vec::max(a, b); });
        }
      }
      rows.each([&](Vec& v, auto i, auto c) ONEBIT_INLINE_LAMBDA {
        if (windows.divisors) v = Vec::div(v, Vec::broadcast(windows.divisors[p + i]));
        v.store(y + (p + i) * kBlock + c);
      });
    });
  });
}

void finish_windows(const EpilogueTile& t, const PoolWindows& windows) {
  float y[kMaxPixels * kBlock];
  windows.half ? pool_windows<Half>(t, windows, y) : pool_windows<float>(t, windows, y);
  finish_floats(t, y, kBlock);
}

}  // namespace
}  // namespace onebit
